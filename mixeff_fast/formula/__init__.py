"""Formulas: text to tree, tree to meaning, meaning to canonical text.

Everything here is pure text work: no data is read and nothing is ever evaluated.
"""

from __future__ import annotations

from mixeff_fast.formula.expand import model_formula
from mixeff_fast.formula.model import ModelFormula, RandomTerm, Response, Term, TermSet, Variable
from mixeff_fast.formula.parser import parse
from mixeff_fast.formula.render import deparse, render
from mixeff_fast.formula.tree import (
    Bar,
    Binary,
    Call,
    FormulaTree,
    Name,
    Node,
    Number,
    Paren,
    Span,
    String,
    Unary,
    literal_value,
    walk,
)
from mixeff_fast.formula.update import update_formula

__all__ = [
    "Bar",
    "Binary",
    "Call",
    "FormulaTree",
    "ModelFormula",
    "Name",
    "Node",
    "Number",
    "Paren",
    "RandomTerm",
    "Response",
    "Span",
    "String",
    "Term",
    "TermSet",
    "Unary",
    "Variable",
    "deparse",
    "literal_value",
    "model_formula",
    "parse",
    "render",
    "update_formula",
    "walk",
]
