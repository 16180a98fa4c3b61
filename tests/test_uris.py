"""Secrets in URIs: never printed, never kept."""

import json
import subprocess
import sys

import pytest

from tests.s3 import SECRET
from wsc_ray.errors import ManifestError, RecipeError
from wsc_ray.uris import reason_about, shown, values_without_secrets, without_secrets

SHOWN = {
    "http://me:SEKRIT@127.0.0.1:5000/x": "http://127.0.0.1:5000/x",
    "https://SEKRIT@host/x": "https://host/x",
    "http://user:SEKRIT@[::1]:5000/": "http://[::1]:5000/",
    "http://user:SEKRIT@[bad": "http://[bad",
    "databricks://user:SEKRIT@x": "databricks://x",
    "postgresql+psycopg2://u:SEKRIT@db:5432/m?sslmode=require&password=SEKRIT": "postgresql+psycopg2://db:5432/m?sslmode=require",
    "s3://AKIASEKRIT:SEKRIT@bucket/x?endpoint_override=127.0.0.1:1&scheme=http": "s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http",
    # passwords with what should have been encoded
    "s3://AKIA:SEK/SEKRIT/4@bucket/x": "s3://bucket/x",
    "s3://AKIA:12/SEKRIT@bucket/x": "s3://bucket/x",
    "http://us@er:pa/SEKRIT@host/x": "http://host/x",
    "http://user:p@ss/SEKRIT@host/x": "http://host/x",
    "http://user:SEK#SEKRIT@host/": "http://host/",
    "http://user:SEK?SEKRIT@host/": "http://host/",
    "http://user:SEKRIT SEKRIT@host/": "http://host/",
    # options
    "http://host/x?password=SEKRIT": "http://host/x",
    "http://host/x?token=SEKRIT&region=a": "http://host/x?region=a",
    "http://host/x?region=a;pwd=SEKRIT": "http://host/x?region=a",
    "http://host/x?region=a&p%61ssword=SEKRIT": "http://host/x?region=a",
    "http://host/x#access_token=SEKRIT": "http://host/x",
    "s3://b/x?access_key=SEKRIT&secret_key=SEKRIT&region=a": "s3://b/x?region=a",
    "https://h/b?X-Amz-Credential=SEKRIT%2Fa&X-Amz-Signature=SEKRIT&v=1": "https://h/b?v=1",
    "https://acct.blob.core.windows.net/c?sv=2020&sig=SEKRIT&se=1": "https://acct.blob.core.windows.net/c?sv=2020&se=1",
    "https://h/b?code=SEKRIT&jwt=SEKRIT&v=1": "https://h/b?v=1",
    "sqlserver://h:1433;user=u;password=SEKRIT;x=1": "sqlserver://h:1433;user=u;x=1",
    "mssql+pyodbc:///?odbc_connect=Driver%3D%7BX%7D%3BServer%3Dh%3BUID%3Du%3BPWD%3DSEKRIT": "mssql+pyodbc:///",
    # URIs inside of URIs
    "zip://a.zip::s3://K:SEKRIT@b/x.zip": "zip://a.zip::s3://b/x.zip",
    "simplecache::s3://K:SEKRIT@b/x": "simplecache::s3://b/x",
    "s3://b/x?endpoint_override=http://u:SEKRIT@h:1&region=r": "s3://b/x?endpoint_override=http://h:1&region=r",
    "s3://b/x?endpoint_override=http%3A%2F%2Fu%3ASEKRIT%40h": "s3://b/x?endpoint_override=http%3A%2F%2Fh",
    "abfs://box:SEKRIT@a.dfs.core.windows.net/p": "abfs://box@a.dfs.core.windows.net/p",
}
HARMLESS = [
    "s3://bucket/a@b/c",
    "http://host:5000/a@b",
    "http://[::1]:5000/a@b",
    "gs://anonymous@bucket/x",
    "abfs://box@a.dfs.core.windows.net/p",
    "sqlite:////a@b/c.db?timeout=3",
    "file:///a@b#c",
    "file:///a;b/c;d=e",
    "/a@b:c/d?password=e",
    "s3://b/design=x?region=a&scheme=http&allow_bucket_creation=true",
]


@pytest.mark.parametrize(("uri", "left"), SHOWN.items())
def test_what_is_shown(uri, left):
    assert shown(uri) == left
    assert shown(left) == left
    if " " not in uri:
        assert "SEKRIT" not in without_secrets(f"{uri!r} cannot be read: no {uri}, and no ({uri})")
        assert "SEKRIT" not in str(values_without_secrets({"c": f"--set x={uri}"}))
    assert "SEKRIT" not in str(values_without_secrets({"a": [uri, {"b": uri}]}))
    assert "SEKRIT" not in reason_about(uri, OSError(f"no {uri}: user {uri.partition('://')[2].partition('@')[0]}"))


@pytest.mark.parametrize("uri", HARMLESS)
def test_what_holds_no_secret_stays(uri):
    assert shown(uri) == uri
    assert values_without_secrets({"a": uri}) == {"a": uri}


def test_long_texts_cost_no_more_than_their_length():
    for text in ("x" * 10**6, "a." * 10**5 + "://" + "@:/" * 10**5, "s3://" * 10**4):
        without_secrets(text)
        shown(text)


def test_errors_take_them_out_themselves():
    assert str(ManifestError("s3://K:SEKRIT@b/x does not exist")) == "s3://b/x does not exist"
    error = RecipeError("http://u:SEKRIT@h/r.yaml", ["`tracking.uri`: not 'http://h?token=SEKRIT'"])
    assert "SEKRIT" not in str(error)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:SEKRIT@bucket/x?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1",
        "s3://AKIA:SEK/RIT@bucket/x",
        "http://127.0.0.1:1/x?token=SEKRIT",
        "ftp://user:SEKRIT@127.0.0.1:1/x",
        "nonsense://user:SEKRIT@x",
    ],
)
def test_a_manifest_that_cannot_be_opened(wsc_ray_command, tmp_path, uri):
    for arguments in (
        ("pretrain", "--set", f"data.manifest={uri}", "--out", tmp_path / "x"),
        ("manifest", "check", uri),
        ("manifest", "import", uri, "--out", tmp_path / "x"),
        ("manifest", "import", "t.parquet", "--out", uri),
        ("embed", "--run", uri),
        ("pretrain", "--set", f"tracking.uri={uri}", "--out", tmp_path / "x"),
    ):
        status, text = wsc_ray_command(*arguments)
        assert status == 2, arguments
        assert not any(secret in text for secret in ("SEKRIT", "SEK/", "RIT@")), text
    assert not list(tmp_path.iterdir())


def test_a_run_on_a_manifest_whose_uri_has_keys(wsc_ray_command, s3, manifest, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    s3.upload(manifest, "uris/manifest")
    uri = s3.uri("uris/manifest", keys=True)
    assert SECRET in uri
    settings["data"]["manifest"] = uri
    settings["train"]["epochs"] = 0
    settings["tracking"]["uri"] = f"sqlite:///{tmp_path}/mlflow.db"  # to look into it, too
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    arguments = ("pretrain", tmp_path / "recipe.json", "--out", tmp_path / "run")
    texts = [wsc_ray_command(*arguments, "--dry-run"), wsc_ray_command(*arguments), wsc_ray_command(*arguments)]
    texts.append(wsc_ray_command(*arguments, "--set", "seed=5"))  # refused, with the differences listed
    assert [status for status, _ in texts] == [0, 0, 0, 2]
    (tmp_path / "recipe.json").unlink()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"recipe.yaml", "identity.json", "summary.json", "mlflow.db"} <= {path.name for path in written}
    for text in [text.encode() for _, text in texts] + [path.read_bytes() for path in written]:
        assert SECRET.encode() not in text


def test_mlflow_prints_nothing_when_a_run_ends(tmp_path):
    code = (
        "import sys, wsc_ray.tracking as t, mlflow, os\n"
        "t.connect(sys.argv[1], 'e')\n"
        "from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT as v\n"
        "assert v.get() is True\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path}/mlflow.db"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "View run" not in done.stdout
