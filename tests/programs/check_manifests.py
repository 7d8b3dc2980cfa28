"""Checks Kubernetes manifests against the published schemas: one JSON object on standard output.

    python3 check_manifests.py VERSION[,VERSION...] FILE...

`documents` holds what stands in the files, `problems` what is wrong with it: a field that no schema knows, a value of
the wrong type, a kind without a schema, a key given twice. Needs the package kubernetes-validate.
"""

import json
import sys

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions


class UniqueKeys(yaml.SafeLoader):
    """YAML's own loader takes the last of two equal keys and says nothing."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def problems_of(document, version):
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        return [f"{path}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    return []


def main():
    versions, files = sys.argv[1].split(","), sys.argv[2:]
    known = {".".join(version.split(".")[:2]) for version in all_versions()}
    found = []
    problems = [f"no schemas of Kubernetes {version}" for version in versions if version not in known]
    versions = [version for version in versions if version in known]
    for file in files:
        try:
            with open(file, encoding="utf-8") as text:
                documents = list(yaml.load_all(text, Loader=UniqueKeys))
        except yaml.YAMLError as error:
            problems.append(f"{file}: {error}")
            continue
        for document in documents:
            if not isinstance(document, dict) or not {"apiVersion", "kind"} <= document.keys():
                problems.append(f"{file}: a document without apiVersion or kind")
                continue
            found.append(document)
            for version in versions:
                for problem in problems_of(document, version):
                    problems.append(f"{file}: {document['kind']}, Kubernetes {version}: {problem}")
    print(json.dumps({"documents": found, "problems": problems}))


if __name__ == "__main__":
    main()
