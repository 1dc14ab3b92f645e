"""The handlers of the control plane, one module a noun."""
