"""The secured servers refuse what they should: what other tests see of privileges is real."""
import ssl
import urllib.error
import urllib.request

import pytest

from certificates import Authority
from conftest import SearchError

pytest_plugins = ["secured"]


def test_without_or_with_wrong_credentials_it_refuses(secured):
    assert secured.request("GET", "_cluster/health")["status"] in ("yellow", "green")
    for user in None, ("admin", "wrong"), ("nobody", "admin"):
        with pytest.raises(SearchError) as refused:
            secured.request("GET", "_cluster/health", user=user)
        assert refused.value.status == 401


def test_it_speaks_tls_by_its_own_authority(secured, tmp_path):
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        context = ssl.create_default_context(cafile=Authority(tmp_path).cert)
        urllib.request.urlopen(secured.url, timeout=20, context=context)
    with pytest.raises(OSError):
        urllib.request.urlopen(secured.url.replace("https", "http"), timeout=20)


def test_a_client_certificate_takes_the_place_of_a_password(secured):
    if not secured.client_certificate:
        pytest.skip("it has none: a licence is needed for that")
    context = ssl.create_default_context(cafile=secured.ca)
    context.load_cert_chain(*secured.client_certificate)
    with urllib.request.urlopen(secured.url + "/_cluster/health", timeout=20, context=context) as answer:
        assert answer.status == 200


def test_each_item_is_refused_by_itself(secured):
    write = "indices:data/write/*" if secured.is_opensearch else "write"
    bulk = ["indices:data/write/bulk"] if secured.is_opensearch else []
    limited = secured.add_user("limited", "Quite-long-7", {"mine": [write]}, bulk)
    for index in "mine", "yours":
        secured.request("PUT", index, {"mappings": {"properties": {"n": {"type": "long"}}}})
    lines = "".join('{"index": {"_index": "%s", "_id": "1"}}\n{"n": 1}\n' % index for index in ("mine", "yours"))
    answer = secured.request("POST", "_bulk", lines, user=limited)
    mine, yours = [item["index"] for item in answer["items"]]
    assert mine["status"] == 201
    assert yours["status"] == 403 and yours["error"]["type"] == "security_exception", yours
    assert secured.count("mine") == 1 and secured.count("yours") == 0


def test_an_api_key_is_made_used_and_revoked(secured):
    if secured.is_opensearch:
        pytest.skip("it has none")
    key = secured.request("POST", "_security/api_key", {"name": "test"})
    header = "ApiKey " + key["encoded"]
    assert secured.request("GET", "_security/_authenticate", header=header)["username"] == secured.admin[0]
    secured.request("DELETE", "_security/api_key", {"ids": [key["id"]]})
    with pytest.raises(SearchError) as refused:
        secured.request("GET", "_security/_authenticate", header=header)
    assert refused.value.status == 401
