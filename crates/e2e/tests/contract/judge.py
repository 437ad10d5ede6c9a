"""Judges an OpenAPI document and replies of the server that it describes.

Reads {"document": ..., "replies": [{"what": ..., "schema": pointer into the document, "body": ...}]}.
"""
import importlib.util
import json
import pathlib
import sys

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

read = json.load(sys.stdin)
document, faults = read["document"], []


def judge(what, validator, value):
    for fault in validator.iter_errors(value):
        faults.append(f"{what}: /{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}")


# The schema of OpenAPI 3.1 itself; the rest of the package that brings it is not loaded.
package = importlib.util.find_spec("openapi_spec_validator").submodule_search_locations[0]
official = json.loads((pathlib.Path(package) / "resources/schemas/v3.1/schema.json").read_text())
judge("document", Draft202012Validator(official), document)
for name, schema in document["components"]["schemas"].items():
    judge(f"schema {name}", Draft202012Validator(Draft202012Validator.META_SCHEMA), schema)

identifiers = [row["operationId"] for verbs in document["paths"].values() for row in verbs.values()]
faults += [f"operationId {name} is there twice" for name in set(identifiers) if identifiers.count(name) > 1]

# A reference to nothing is found by whoever follows it.
registry = Registry().with_resource("urn:api", DRAFT202012.create_resource(document))
resolver = registry.resolver("urn:api")


def follow(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            resolver.lookup(value["$ref"])
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            follow(inner)


follow(document)
for reply in read["replies"]:
    schema = {"$ref": f"urn:api#{reply['schema']}"}
    judge(reply["what"], Draft202012Validator(schema, registry=registry), reply["body"])

if faults:
    sys.exit("\n".join(faults))
print(f"{len(document['paths'])} paths, {len(read['replies'])} replies: as described")
