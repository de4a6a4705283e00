"""One verb a module: the joint of core and edges. Stages do not know one another; `reconcile` calls them."""
