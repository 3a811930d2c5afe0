"""The server as programs see it: what it answers to whom, and twenty requests at once."""

import base64
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from threading import Barrier

import pytest
from PIL import Image

# found, not imported: importing gradio leaves event loops behind
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="the app needs gradio")
pytestmark = [pytest.mark.slow, needs_gradio]

AT_ONCE = 20


class RefusedError(Exception):
    """The server said no, with a code."""


def fetched(address, path, data=None, **headers):
    request = urllib.request.Request(address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            raise RefusedError(error.code) from None


def uploaded(address, name, content):
    """Send a file as the page does; its place on the server."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    return json.loads(fetched(address, "gradio_api/upload", body, **kind))[0]


def asked(address, files, names):
    """What the page answers to photos, as HTML."""
    photos = [{"path": one, "meta": {"_type": "gradio.FileData"}} for one in files]
    body = json.dumps({"data": ["tiny:clip", photos, names, ""]}).encode()
    event = json.loads(fetched(address, "gradio_api/call/recognise", body, **{"Content-Type": "application/json"}))
    told = fetched(address, f"gradio_api/call/recognise/{event['event_id']}")
    assert "event: complete" in told, told
    return json.loads(re.findall(r"^data: (.*)$", told, flags=re.MULTILINE)[-1])[0]


def photo(colour):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return file.getvalue()


def test_of_twenty_requests_at_once_none_is_lost_and_none_mixed_up(served):
    address, _ = served
    together = Barrier(AT_ONCE)

    def one(place):
        file = uploaded(address, f"photo {place}.png", photo((10 * place, 0, 0)))
        together.wait(timeout=60)
        return file, asked(address, [file], f"thing {place}, other {place}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(one, range(AT_ONCE)))
    for place, (_, answer) in enumerate(answers):
        assert re.findall(r'class="m-file">(.*?)<', answer) == [f"photo {place}.png"]
        assert sorted(re.findall(r"</i><span>(.*?)</span>", answer)) == [f"other {place}", f"thing {place}"]
        (shown,) = re.findall(r'src="data:image/jpeg;base64,(.*?)"', answer)
        with Image.open(io.BytesIO(base64.b64decode(shown))) as image:
            assert abs(image.getpixel((16, 16))[0] - 10 * place) < 5
    # alone, a request is answered as it was among the others
    for place in (0, 13):
        file, answer = answers[place]
        assert asked(address, [file], f"thing {place}, other {place}") == answer


def test_the_page_reports_to_nobody_and_has_one_call_for_programs(served):
    address, _ = served
    page = fetched(address, "")
    config = json.loads(fetched(address, "config"))
    assert config["analytics_enabled"] is False
    assert list(json.loads(fetched(address, "gradio_api/info"))["named_endpoints"]) == ["/recognise"]
    loaded = re.findall(r"""<(?:script|link|img)[^>]*?(?:src|href)=["'](?:https?:)?//([^/"']+)""", page)
    assert set(loaded) <= {address.split("/")[2]}


def test_files_of_the_machine_are_not_served(served):
    address, folder = served
    (folder / "secret.txt").write_text("secret")
    for path in ("/etc/passwd", str(folder / "secret.txt"), "../secret.txt"):
        with pytest.raises(RefusedError, match=r"403|404"):
            fetched(address, f"gradio_api/file={path}")
    told = None
    with pytest.raises(AssertionError) as wrong:
        told = asked(address, [str(folder / "secret.txt")], "cat, dog")
    assert told is None
    assert "event: error" in str(wrong.value)


def test_a_foreign_page_cannot_call_the_server(served):
    address, _ = served
    request = urllib.request.Request(address + "config", headers={"Origin": "http://example.com"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") not in ("*", "http://example.com")


def test_an_upload_that_is_too_large_is_refused(served):
    address, _ = served
    with pytest.raises((RefusedError, urllib.error.URLError, ConnectionError)) as refused:
        uploaded(address, "large.png", b"0" * (21 * 2**20))
    assert "413" in str(refused.value) or not isinstance(refused.value, RefusedError)


def test_a_model_that_is_not_there_is_told_before_anything_is_served(tmp_path):
    command = [sys.executable, "-m", "molyneux.cli", "app", "--no-browser", "--folder", str(tmp_path / "app")]
    ended = subprocess.run([*command, "--model", "nonsense"], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("molyneux: error: there is no model 'nonsense'")
    assert ended.stderr.count("\n") == 1
