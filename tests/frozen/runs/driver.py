"""Runs commands of icl one after another in this process, of whichever version PYTHONPATH names.

Standard input: a JSON list of jobs {"words": [...], "stop": step or null}. A job with a step is sent Ctrl-C once it has
trained so far. The words `own.py ROOT` train the module of that file. The last line of standard output: a JSON list of
(exit code, output, errors).
"""

import contextlib
import io
import json
import os
import signal
import sys
import traceback


def interrupted_at(step):
    """From now on training gets Ctrl-C at a step, and every chunk is one step; None: as usual."""
    from icl.training import session, trainer

    fit = vars(session).setdefault("_whole_fit", session.fit)
    if step is None:
        session.fit, trainer.CHUNK_SECONDS = fit, 0.5
        return

    def stopped(program, runs, watch, interruption):
        def watched(progress):
            watch(progress)
            if progress.phase == "training" and progress.step == step:
                os.kill(os.getpid(), signal.SIGINT)

        fit(program, runs, watched, interruption)

    session.fit, trainer.CHUNK_SECONDS = stopped, 0.0


def act(words):
    """One job's exit code."""
    if words[0] == "own.py":
        import own

        try:
            own.train(words[1])
        except KeyboardInterrupt:
            return 130
        return 0
    if words[0] == "report-of-own.py":
        import own

        import icl
        from icl.console import reading

        reading.report(icl.load("last", words[1], model=own.module()))
        return 0
    from icl import cli

    sys.argv = ["icl", *words]
    try:
        cli.main()
    except SystemExit as stopped:
        return stopped.code or 0
    return 0


def main():
    sys.path.insert(0, os.getcwd())
    said = []
    for job in json.load(sys.stdin):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            if job["stop"] is not None or "icl.training.session" in sys.modules:
                interrupted_at(job["stop"])
            try:
                code = act(job["words"])
            except Exception:
                traceback.print_exc()
                code = 1
        said.append((code, out.getvalue(), err.getvalue()))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
