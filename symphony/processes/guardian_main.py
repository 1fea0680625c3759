"""Where the guardian's program begins: `python -I -S guardian_main.py DESCRIPTOR WORKER_PID`.

Invariant: nothing is imported but this room and the standard library; the interpreter's paths of the worker, its
environment's hooks and site packages stay out, so that the guardian starts at once and stays small.
"""

import sys


def main() -> None:
    """Put the folder that holds `symphony` on the path and serve the worker behind the descriptor."""
    sys.path.insert(0, __file__.rsplit("/", 3)[0])
    from symphony.processes.guardian_loop import serve

    serve(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
