"""`icl run CLASS --help`: the flags of the command, then every setting of the class and of training."""

from icl.console import options


def run_help(general: str, task: str | None) -> str:
    """The command's own help, followed by the settings of a class where one is named."""
    if task is None:
        return general + "\n\nName a class to see its settings: icl run linear-regression --help"
    from icl import custom

    head = "Settings, as plain flags (--depth 4) or by path (--set model.depth=4); comma lists make a sweep:"
    return f"{general}\n\n{head}\n{options.help_text(custom.resolve(task))}"
