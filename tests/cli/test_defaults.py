"""An option has the default of the parameter that it sets in Python."""

import inspect
from dataclasses import fields

import pytest
from typer.main import get_command

import ntkit
from ntkit.cli._app import app
from ntkit.jobs.check import Limits
from ntkit.jobs.label import label_samples

ELSEWHERE = {"seed": "random_state"}
"""Options with another name in Python."""


def of_function(function):
    return {n: p.default for n, p in inspect.signature(function).parameters.items()}


def of_class(kind):
    return {field.name: field.default for field in fields(kind)}


PYTHON = {
    "debias": of_function(ntkit.debias) | of_class(ntkit.DebiasSettings),
    "audit": of_function(ntkit.audit_model),
    "check": of_class(Limits) | of_function(ntkit.check),
    "label": of_function(label_samples),
}


@pytest.mark.parametrize("name", PYTHON)
def test_defaults(name):
    command = get_command(app).commands[name]
    compared = 0
    for option in command.params:
        parameter = ELSEWHERE.get(option.name, option.name)
        default = PYTHON[name].get(parameter, inspect.Parameter.empty)
        if default is inspect.Parameter.empty or option.default is None or option.required:
            continue  # None on the command line leaves the default to the function
        assert option.default == default, f"{option.name} of ntkit {name}"
        compared += 1
    assert compared
