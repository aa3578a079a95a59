"""The control point as an HTTP service: any language, over the same store. Needs `lastgood[service]`."""
