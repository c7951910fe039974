#!/usr/bin/env python3
"""Renders chat_cases.json with transformers and writes what it gave to chat_rendered.json.

  chat_templates.py [TEMPLATE_DIR [OUT]]

Without arguments it renders tests/golden/templates/ into tests/golden/chat_rendered.json. The clock stands still at
2024-07-26 12:34:56, so the file does not change from day to day.
"""
import datetime
import json
import sys
from pathlib import Path

import jinja2
from transformers.utils import chat_template_utils as utils

GOLDEN = Path(__file__).resolve().parent.parent
NOW = datetime.datetime(2024, 7, 26, 12, 34, 56)


class StoppedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


utils.datetime = StoppedClock


def render(template, conversation, cases, add_generation_prompt):
    variables = {**cases["special_tokens"], **conversation.get("variables", {})}
    try:
        rendered, spans = utils.render_jinja_template(
            conversations=[conversation["messages"]],
            tools=cases["tools"] if conversation.get("tools") else None,
            documents=cases["documents"] if conversation.get("documents") else None,
            chat_template=template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=add_generation_prompt,
            **variables,
        )
    except jinja2.exceptions.TemplateError as error:
        kind = "raised" if type(error) is jinja2.exceptions.TemplateError else "failed"
        return {kind: str(error)}
    except Exception as error:  # what CPython's own types refuse, e.g. None + str
        return {"failed": f"{type(error).__name__}: {error}"}
    out = {"text": rendered[0]}
    if "generation" in template and spans[0]:
        text = rendered[0]
        out["spans"] = [[len(text[:start].encode()), len(text[:end].encode())] for start, end in spans[0]]
    return out


def main():
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "templates"
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else GOLDEN / "chat_rendered.json"
    cases = json.loads((GOLDEN / "chat_cases.json").read_text(encoding="utf-8"))
    golden = {}
    for path in sorted(directory.glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        golden[path.stem] = {
            name: {str(prompt).lower(): render(template, conversation, cases, prompt) for prompt in (False, True)}
            for name, conversation in cases["conversations"].items()
        }
    out.write_text(json.dumps(golden, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


main()
