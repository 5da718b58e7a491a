"""Envoy's access log as protobuf: the parts of Envoy's own API that we read, under its names and field numbers.

`accesslog_pb2.py` and `als_pb2.py` are made from the `.proto` files beside them, in the root of the repository:

    python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. backend/ingest/als/*.proto

Source: Envoy's API, `envoy/service/accesslog/v3/als.proto` and `envoy/data/accesslog/v3/accesslog.proto`.
"""
