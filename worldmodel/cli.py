"""The ``worldmodel`` command."""

from __future__ import annotations

import os
import sys

import tyro

from worldmodel.commands.judging import certify, demo, doctor, evaluate, rank
from worldmodel.commands.making import collect, convert, curriculum, rollout, show, train

# Before anything imports transformers: no chatter about optional packages.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def main() -> None:
    """Entry point: errors of use are one line, an interrupt is not a traceback."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "demo": demo,
                "collect": collect,
                "show": show,
                "rollout": rollout,
                "evaluate": evaluate,
                "certify": certify,
                "rank": rank,
                "curriculum": curriculum,
                "train": train,
                "convert": convert,
                "doctor": doctor,
            },
            prog="worldmodel",
            description="Roll out video world models, refine them at test time, and check them against MuJoCo.",
        )
    except (ValueError, OSError) as error:
        sys.exit(f"worldmodel: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"worldmodel: {error}, expected it for this command; {_install(error.name or '')}")
    except KeyboardInterrupt:
        sys.exit("worldmodel: interrupted; what was finished is kept, run the same command to go on")


def _install(module: str) -> str:
    """What to run when a package is missing."""
    from worldmodel.doctor import PACKAGES, install_command

    extras = [extra for extra, packages in PACKAGES.items() if extra and module.split(".")[0] in dict(packages)]
    return f"run: {install_command(extras[0])}" if extras else "run: worldmodel doctor"


if __name__ == "__main__":
    main()
