"""The program `wsc-ray`, also as `python -m wsc_ray`: the command line, in a child process."""

from wsc_ray.guard import guarded


def main() -> None:
    """Run the command line, and say a sentence where Ray or the machine ends it."""

    def work() -> None:
        from wsc_ray.cli import main as program  # only here: the waiting process needs none of it

        program()

    guarded(work)


if __name__ == "__main__":
    main()
