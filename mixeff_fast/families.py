"""Families and links of generalized linear mixed models: which there are, and how they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast, get_args

from mixeff_fast.errors import ArgumentError
from mixeff_fast.vocabulary import FamilyName, FamilyParameter, LinkName

# the links of each family, its default first
LINKS: Final[dict[FamilyName, tuple[LinkName, ...]]] = {
    "binomial": ("logit", "probit", "cloglog", "cauchit", "log"),
    "poisson": ("log", "sqrt", "identity"),
    "gamma": ("log", "inverse", "identity"),
    "inverse_gaussian": ("log", "inverse_square", "inverse", "identity"),
    "negative_binomial": ("log", "sqrt", "identity"),
    "gaussian": ("identity", "log", "inverse", "sqrt"),
}
CANONICAL: Final[dict[FamilyName, LinkName]] = {
    "binomial": "logit",
    "poisson": "log",
    "gamma": "inverse",
    "inverse_gaussian": "inverse_square",
    "gaussian": "identity",
}
_DISPERSED: Final = ("gamma", "inverse_gaussian", "gaussian")
_ALIASES: Final[dict[str, FamilyName]] = {"bernoulli": "binomial", "nbinom2": "negative_binomial"}
_LINK_ALIASES: Final[dict[str, LinkName]] = {"1/mu^2": "inverse_square"}


@dataclass(frozen=True, slots=True)
class Family:
    """A distribution of the response around its mean, and the link of that mean to the linear predictor.

    Made by :func:`binomial`, :func:`poisson`, :func:`gamma`, :func:`inverse_gaussian`, :func:`negative_binomial` and
    :func:`gaussian`, which check what they are given; so does this class.

    Parameters
    ----------
    name
        ``"binomial"``, ``"poisson"``, ``"gamma"``, ``"inverse_gaussian"``, ``"negative_binomial"`` or ``"gaussian"``.
    link
        ``"logit"``, ``"probit"``, ``"cloglog"``, ``"cauchit"``, ``"log"``, ``"sqrt"``, ``"identity"``, ``"inverse"`` or
        ``"inverse_square"``; each family takes some of them.
    theta
        Of the negative binomial, whose variance is ``mu + mu^2 / theta``: its value where it is known. ``None`` has it
        estimated.

    Raises
    ------
    ArgumentError
        An unknown name, a link that the family does not take, a theta that is not positive and finite or not of the
        negative binomial.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> mf.binomial("probit")
    Family(name='binomial', link='probit', theta=None)
    >>> print(mf.negative_binomial(theta=2.5))
    negative_binomial(link="log", theta=2.5)
    """

    name: FamilyName
    link: LinkName
    theta: float | None = None

    def __post_init__(self) -> None:
        if self.name not in LINKS:
            raise _unknown(self.name)
        if self.link not in LINKS[self.name]:
            raise ArgumentError(
                f"the {self.name} family does not take the link {self.link!r}; it takes {_listed(LINKS[self.name])}",
                argument="link", family=self.name, supported=LINKS[self.name],
            )
        if self.theta is None:
            return
        if self.name != "negative_binomial":
            raise ArgumentError(f"theta is of the negative binomial; the {self.name} family has none", argument="theta")
        if not (_is_number(self.theta) and math.isfinite(self.theta) and self.theta > 0):
            raise ArgumentError(
                f"theta is a positive finite number, or None to have it estimated, not {self.theta!r}", argument="theta"
            )
        object.__setattr__(self, "theta", float(self.theta))

    @property
    def has_dispersion(self) -> bool:
        """Tell whether the variance has a free factor."""
        return self.name in _DISPERSED

    @property
    def estimates_parameter(self) -> bool:
        """Tell whether a dispersion or the negative binomial's theta is estimated with the rest of the model."""
        return self.has_dispersion or (self.name == "negative_binomial" and self.theta is None)

    @property
    def parameter_name(self) -> FamilyParameter | None:
        """What the family's own parameter is called, known or estimated; ``None`` where it has none."""
        if self.has_dispersion:
            return "dispersion"
        return "theta" if self.name == "negative_binomial" else None

    @property
    def canonical(self) -> bool:
        """Tell whether the link is the family's canonical one, with which observed and expected weights agree.

        The negative binomial's is not offered, so its links never are.
        """
        return CANONICAL.get(self.name) == self.link

    def __str__(self) -> str:
        known = "" if self.theta is None else f", theta={self.theta:g}"
        return f'{self.name}(link="{self.link}"{known})'


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return float(cast(float, value)) == value
    except (TypeError, ValueError, OverflowError):
        return False


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _unknown(value: object) -> ArgumentError:
    return ArgumentError(
        f"there is no family {value!r}; there are {_listed(get_args(FamilyName))}, each also as a function that takes a "
        f'link, such as binomial(link="probit")',
        argument="family", supported=get_args(FamilyName),
    )


def _link(value: object) -> LinkName:
    """A link's name, in R's spelling or ours."""
    if not isinstance(value, str):
        raise ArgumentError(f"link is a name such as {_listed(get_args(LinkName)[:2])}, not {value!r}", argument="link")
    return _LINK_ALIASES.get(value, cast(LinkName, value))


def binomial(link: str = "logit") -> Family:
    """Binary responses, and numbers of successes among known numbers of trials.

    Parameters
    ----------
    link
        ``"logit"`` (the default), ``"probit"``, ``"cloglog"``, ``"cauchit"`` or ``"log"``.

    Raises
    ------
    ArgumentError
        Another link.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> mf.binomial().canonical
    True
    """
    return Family("binomial", _link(link))


def poisson(link: str = "log") -> Family:
    """Counts, with a variance equal to the mean.

    Parameters
    ----------
    link
        ``"log"`` (the default), ``"sqrt"`` or ``"identity"``.

    Raises
    ------
    ArgumentError
        Another link.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> mf.poisson("sqrt").link
    'sqrt'
    """
    return Family("poisson", _link(link))


def gamma(link: str = "log") -> Family:
    """Positive responses with a constant coefficient of variation: a variance of dispersion times the squared mean.

    Parameters
    ----------
    link
        ``"log"`` (the default; R's is the inverse), ``"inverse"`` or ``"identity"``.

    Raises
    ------
    ArgumentError
        Another link.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> mf.gamma().parameter_name
    'dispersion'
    """
    return Family("gamma", _link(link))


def inverse_gaussian(link: str = "log") -> Family:
    """Positive responses with a variance of dispersion times the cubed mean.

    Parameters
    ----------
    link
        ``"log"`` (the default; R's is the inverse square), ``"inverse_square"`` (``"1/mu^2"``), ``"inverse"`` or
        ``"identity"``.

    Raises
    ------
    ArgumentError
        Another link.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> mf.inverse_gaussian("1/mu^2").canonical
    True
    """
    return Family("inverse_gaussian", _link(link))


def negative_binomial(theta: float | None = None, link: str = "log") -> Family:
    """Counts that vary more than Poisson's: a variance of ``mu + mu^2 / theta`` (the kind called NB2).

    Parameters
    ----------
    theta
        A positive number where it is known; ``None`` (the default) has it estimated with the rest of the model.
    link
        ``"log"`` (the default), ``"sqrt"`` or ``"identity"``.

    Raises
    ------
    ArgumentError
        Another link, or a theta that is not positive and finite.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> mf.negative_binomial().estimates_parameter, mf.negative_binomial(theta=3).estimates_parameter
    (True, False)
    """
    return Family("negative_binomial", _link(link), theta)


def gaussian(link: str = "identity") -> Family:
    """Responses with a constant variance around a mean that the link bends.

    With the identity link, the default, the model is a linear mixed model, which ``lmm`` fits: models that take a family
    refuse it.

    Parameters
    ----------
    link
        ``"log"``, ``"inverse"``, ``"sqrt"`` or ``"identity"``.

    Raises
    ------
    ArgumentError
        Another link.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> mf.gaussian("log").has_dispersion
    True
    """
    return Family("gaussian", _link(link))


_CONSTRUCTORS: Final[dict[FamilyName, Callable[[], Family]]] = {
    "binomial": binomial,
    "poisson": poisson,
    "gamma": gamma,
    "inverse_gaussian": inverse_gaussian,
    "negative_binomial": negative_binomial,
    "gaussian": gaussian,
}


def given_family(value: object, link: str | None = None) -> Family:
    """The family that a caller's argument names.

    Parameters
    ----------
    value
        A :class:`Family`, one of the functions that make them, or a name; ``"bernoulli"`` is the binomial family, and R's
        spellings (``"Gamma"``, ``"inverse.gaussian"``) are read.
    link
        Beside a name, another link than the family's default.

    Raises
    ------
    ArgumentError
        Anything else, and the Gaussian family with an identity link, which ``lmm`` fits.
    """
    if isinstance(value, Family):
        family = value
    elif isinstance(value, str):
        plain = value.strip().lower().replace(".", "_").replace(" ", "_")
        name = _ALIASES.get(plain, cast(FamilyName, plain))
        if name not in _CONSTRUCTORS:
            raise _unknown(value)
        family = _CONSTRUCTORS[name]() if link is None else Family(name, _link(link))
    elif callable(value) and value in _CONSTRUCTORS.values():
        family = cast(Callable[[], Family], value)()
    else:
        raise _unknown(value)
    if family.name == "gaussian" and family.link == "identity":
        raise ArgumentError(
            'the Gaussian family with an identity link is a linear mixed model: fit it with lmm(), or give another link, as '
            'in gaussian(link="log")',
            argument="family", family="gaussian", link="identity",
        )
    return family
