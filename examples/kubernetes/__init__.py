"""Manifests, a container file and an agent for several replicas on Kubernetes: docs/recipes/kubernetes.md."""
