"""Envoy's API as protobuf: discovery, and the parts of routes and clusters that `envoy_render` writes.

A field that is not here is refused when a snapshot is handed over, before any Envoy is told. The `*_pb2.py` are made from the
`.proto` files beside them, in the root of the repository:

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. backend/xds/protos/*.proto

Names and field numbers are those of the embedded Envoy, 1.40, read from the descriptors that its binary carries.
"""
