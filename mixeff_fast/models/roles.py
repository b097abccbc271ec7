"""Roles of variables in a design, as the caller declares them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from mixeff_fast.errors import ArgumentError
from mixeff_fast.vocabulary import Role, among

_ROLES: tuple[Role, ...] = get_args(Role)


class Roles(Mapping[str, Role]):
    """Declared roles by variable, as :func:`roles` makes them; never changed afterwards."""

    __slots__ = ("_by_variable",)

    def __init__(self, by_variable: Mapping[str, Any]) -> None:
        checked: dict[str, Role] = {}
        for variable, role in by_variable.items():
            if not isinstance(variable, str):
                raise ArgumentError(
                    f"roles are declared by the name of a variable, not by {variable!r}", argument="roles", variable=variable
                )
            if not among(role, _ROLES):
                raise ArgumentError(
                    f"the role of {variable!r} is one of {', '.join(map(repr, _ROLES))}; not {role!r}",
                    argument="roles", variable=variable, role=role,
                )
            checked[variable] = role
        self._by_variable = checked

    def __getitem__(self, variable: str) -> Role:
        return self._by_variable[variable]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_variable)

    def __len__(self) -> int:
        return len(self._by_variable)

    def __hash__(self) -> int:
        return hash(frozenset(self._by_variable.items()))

    def __repr__(self) -> str:
        return f"roles({', '.join(f'{variable}={role!r}' for variable, role in self._by_variable.items())})"


NO_ROLES = Roles({})


def roles(**declared: Role) -> Roles:
    """Declare the part that variables play in a design, to pass as ``roles=`` to :func:`compile_model` or :func:`lmm`.

    A declared role is that of the random terms on the variable, and the audit of dependence reads it: a variable declared
    ``"sampled_unit"``, ``"item"``, ``"site"``, ``"batch"``, ``"block"`` or ``"repeated_unit"`` is a unit whatever its name
    is, and one declared ``"treatment"`` is none.

    Parameters
    ----------
    declared
        ``variable="role"``; the roles are ``"sampled_unit"``, ``"item"``, ``"site"``, ``"batch"``, ``"block"``,
        ``"treatment"``, ``"repeated_unit"`` and ``"unknown"``. For names that are no Python identifiers, such as the cells
        ``"a:b"``, write ``roles(**{"a:b": "sampled_unit"})`` or pass the mapping itself.

    Returns
    -------
    Roles
        A mapping that cannot be changed.

    Raises
    ------
    ArgumentError
        A role that is not one of these; ``variable`` and ``role`` say which.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> declared = mf.roles(plate="batch", sample="sampled_unit")
    >>> spec = mf.compile_model("diameter ~ 1 + (1 | plate)", mf.datasets.load("Penicillin"), roles=declared)
    >>> spec.call.roles
    roles(plate='batch', sample='sampled_unit')
    """
    return Roles(declared) if declared else NO_ROLES


def given_roles(value: Any) -> Roles:
    """The argument ``roles=`` of a model: None, what :func:`roles` makes, or a mapping.

    Raises
    ------
    ArgumentError
        Something else, or a role outside the vocabulary.
    """
    if value is None:
        return NO_ROLES
    if isinstance(value, Roles):
        return value
    if isinstance(value, Mapping):
        return Roles(value)
    raise ArgumentError(
        f"roles is made by roles(...), such as mf.roles(subject='sampled_unit'), or is a mapping; not of type "
        f"{type(value).__name__}",
        argument="roles",
    )
