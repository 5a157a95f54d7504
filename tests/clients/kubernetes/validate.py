"""Checks manifests strictly against the schemas of Kubernetes 1.29 and everything newer that there is.

validate.py FILE ...              every document of every file
validate.py --same A B ...        pairs of files whose documents mean the same
"""

import functools
import json
import sys

import kubernetes_validate.utils as utils
import yaml

# The definitions are large, and the same for all documents of a version.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


class Loader(yaml.SafeLoader):
    """Reads dates as the texts that they are for Kubernetes."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: str(node.value))


def documents(path):
    with open(path, newline="") as file:
        return [document for document in yaml.load_all(file.read(), Loader=Loader) if document]


def objects(document):
    if document.get("kind", "").endswith("List") and "items" in document:
        return [inner for item in document["items"] for inner in objects(item)]
    return [document]


def same(paths):
    failed = 0
    for first, second in zip(paths[::2], paths[1::2]):
        if documents(first) != documents(second):
            print(f"{first} and {second} differ")
            failed += 1
    return failed


def validate(paths):
    versions = [v for v in dict.fromkeys(utils.all_versions()) if tuple(map(int, v.split(".")[:2])) >= (1, 29)]
    checked = failed = 0
    for version in versions:
        for path in paths:
            for thing in (inner for document in documents(path) for inner in objects(document)):
                name = f"{path}: {thing['kind']}/{thing.get('metadata', {}).get('name', '?')}, Kubernetes {version}"
                if "." in thing["apiVersion"] and not thing["apiVersion"].split("/")[0].endswith(".k8s.io"):
                    continue
                checked += 1
                try:
                    utils.validate(json.loads(json.dumps(thing)), version, strict=True)
                except utils.ValidationError as error:
                    failed += 1
                    print(f"{name}: {'.'.join(map(str, error.path))}: {error.message[:300]}")
                except Exception as error:
                    failed += 1
                    print(f"{name}: {error!r}")
    print(f"{checked} objects of {len(paths)} files against {', '.join(versions)}")
    return failed


if __name__ == "__main__":
    arguments = sys.argv[1:]
    wrong = same(arguments[1:]) if arguments[0] == "--same" else validate(arguments)
    sys.exit(1 if wrong else 0)
