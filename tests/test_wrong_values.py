"""What is given by mistake from Python is refused in one line that says what was expected.

Tests check annotated types themselves, so the mistakes are made in a process of its own, as a user makes them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MISTAKES = {
    "molyneux.Concept('okapi', None)": "ConceptError",
    "molyneux.Concept('okapi', ['striped legs', 3])": "ConceptError",
    "molyneux.Concept(3, 'striped legs')": "ConceptError",
    "molyneux.load(None)": "ModelError",
    "molyneux.load('')": "ModelError",
    "molyneux.load(model)": "ModelError",
    "molyneux.InversionConfig(steps='many')": "ConfigError",
    "molyneux.InversionConfig(images=True)": "ConfigError",
    "molyneux.InversionConfig(canvas='oil')": "ConfigError",
    "molyneux.TeachingConfig(loss='hinge')": "ConfigError",
    "molyneux.TeachingConfig(loss='bank', steps='many')": "ConfigError",
    "molyneux.invert('tiny:clip', okapi)": "ModelError",
    "molyneux.invert(model, 'okapi')": "ConceptError",
    "molyneux.invert(model, [okapi])": "ConceptError",
    "molyneux.invert(model, okapi, 3)": "ConfigError",
    "molyneux.invert(model, okapi, seed='x')": "ConfigError",
    "molyneux.teach('tiny:clip', okapi)": "ModelError",
    "molyneux.teach(okapi, model)": "ModelError",
    "molyneux.teach(model, 'okapi')": "ConceptError",
    "molyneux.teach(model, None)": "ConceptError",
    "molyneux.teach(model, [])": "ConceptError",
    "molyneux.teach(model, {'okapi': 'striped legs'})": "ConceptError",
    "molyneux.teach(model, [image])": "ConceptError",
    "molyneux.teach(model, okapi, 3)": "ConfigError",
    "molyneux.teach(model, okapi, known=3)": "ConfigError",
    "molyneux.teach(model, okapi, known=[okapi])": "ConfigError",
    "molyneux.teach(model, okapi, replay=3)": "ConfigError",
    "molyneux.teach(model, okapi, replay=[okapi])": "ConfigError",
    "molyneux.interpolate(model, None, 0.5)": "ModelError",
    "molyneux.interpolate(model, model, 'half')": "ConfigError",
    "model.recognise(None, NAMES)": "DataError",
    "model.recognise(b'photo', NAMES)": "DataError",
    "model.recognise({'photo': image}, NAMES)": "DataError",
    "model.recognise('https://somewhere/cat.jpg', NAMES)": "DataError",
    "model.recognise(image, [okapi, 'cat'])": "ConfigError",
    "model.recognise(image, okapi)": "ConfigError",
    "model.recognise(image, NAMES, base='tiny:clip')": "ModelError",
    "model.recognise(image, NAMES, top='all')": "ConfigError",
    "model.embed_images('cat.jpg')": "DataError",
    "model.embed_images(image)": "DataError",
    "model.embed_texts(3)": "ConfigError",
    "model.embed_texts([])": "ConfigError",
    "molyneux.evaluate('tiny:clip', novel='photos')": "ModelError",
    "molyneux.evaluate(model, base='tiny:clip', novel='photos')": "ModelError",
    "molyneux.evaluate(model, novel=3)": "DataError",
    "molyneux.evaluate(model, novel='photos', names=[3])": "ConfigError",
    "molyneux.load_pack(None)": "DataError",
    "molyneux.apply('tiny:clip', [])": "ModelError",
    "molyneux.apply(model, None)": "DataError",
    "molyneux.apply(model, 'okapi.safetensors')": "DataError",
    "molyneux.remove(model, None)": "ConceptError",
    "molyneux.remove(model, okapi)": "ConceptError",
    "molyneux.push(model, 'ORG/NAME')": "DataError",
    "molyneux.cite(3)": "ModelError",
}

SCRIPT = """
import json, sys
import molyneux
from PIL import Image

model = molyneux.load("tiny:clip")
okapi = molyneux.Concept("okapi", "A hoofed animal with striped legs.")
image, NAMES = Image.new("RGB", (32, 32)), ["cat", "dog"]
found = {}
for code in json.load(sys.stdin):
    try:
        eval(code)
        found[code] = ["none", ""]
    except Exception as error:
        found[code] = [type(error).__name__, str(error)]
concepts = (one for one in [okapi])
replay = [molyneux.invert(model, molyneux.Concept(name, name), molyneux.InversionConfig(images=2, steps=1))
          for name in ("horse", "zebra")]
taught = molyneux.teach(model, concepts, known=["horse", "zebra"], replay=replay)
found["a generator teaches"] = [taught.concepts[0].name, ""]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_mistake_is_one_line_that_says_what_was_expected():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(list(MISTAKES)),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    found = json.loads(ended.stdout)
    assert found.pop("a generator teaches") == ["okapi", ""]
    assert {code: kind for code, (kind, _) in found.items()} == MISTAKES
    for code, (_, said) in found.items():
        assert "\n" not in said, code
        assert "expected" in said or ": " in said, code
        assert len(said) < 300, (code, said)
