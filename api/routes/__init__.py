"""One file of routes per noun; every route names the scope it needs through the use case it calls."""
