"""What contract tests share: the checks that `icl check` runs too."""

from icl.better import Verdict as Verdict
from icl.better import beats_bayes as beats_bayes
from icl.contracts.interventions import Interventions as Interventions
from icl.contracts.interventions import gradient_leaks as gradient_leaks
from icl.contracts.interventions import losses as losses
