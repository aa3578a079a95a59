"""The store: tables, migrations, connections and the named statements."""
