"""Models as ONNX graphs and folders that hold them, one idea a file."""
