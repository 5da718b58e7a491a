"""The local runtimes that Countersign starts itself: MLflow, Triton and Envoy as one supervised process group."""
