"""Losses, gradients and rewards of TRL's own loss functions, for records in a JSON file.

Usage: trl_losses.py RECORDS.json. A record has `chosen`, `rejected` and `mismatched`, each with the summed log-probability
of an answer, that of the reference, and the answer's tokens. Prints for each objective a list with, for each record, loss,
gradients by both log-probabilities, and rewards; for `kto` the loss is the sum of both answers.
"""

import json
import sys
from types import SimpleNamespace

import torch
from trl.trainer.cpo_trainer import CPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.orpo_trainer import ORPOTrainer


def trainer(kind, **settings):
    """A trainer with settings and nothing else: its loss functions need no model."""
    made = kind.__new__(kind)
    here = SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x)
    vars(made).update(accelerator=here, label_smoothing=0.0, **settings)
    return made


def dpo(loss_type, label_smoothing):
    made = trainer(DPOTrainer, beta=0.3, loss_type=loss_type, reference_free=False,
                   f_divergence_type="reverse_kl", f_divergence_params=None)
    made.label_smoothing = label_smoothing
    per_token = loss_type == "ipo"

    def losses(chosen, rejected, refs, tokens, _):
        parts = [chosen, rejected, refs[0], refs[1]]
        if per_token:
            parts = [part / count for part, count in zip(parts, tokens * 2)]
        return made.dpo_loss(*parts)

    return losses


def orpo(chosen, rejected, refs, tokens, _):
    made = trainer(ORPOTrainer, beta=0.3)
    means = chosen / tokens[0], rejected / tokens[1]
    ratio, won, lost = made.odds_ratio_loss(*means)[:3]
    return -means[0] - ratio, won, lost


def simpo(chosen, rejected, refs, tokens, _):
    made = trainer(CPOTrainer, beta=2.0, simpo_gamma=1.0, loss_type="simpo")
    return made.cpo_loss(chosen / tokens[0], rejected / tokens[1])


def kto(chosen, rejected, refs, tokens, mismatched):
    made = trainer(KTOTrainer, beta=0.3, loss_type="kto", calculate_KL=True,
                   desirable_weight=1.2, undesirable_weight=0.8)
    losses, won, lost, _ = made.kto_loss(chosen, rejected, mismatched[0], *refs, mismatched[1])
    count = len(chosen)
    return losses[:count] + losses[count:], won, lost


OBJECTIVES = {
    "dpo": dpo("sigmoid", 0.0),
    "smoothed": dpo("sigmoid", 0.2),
    "ipo": dpo("ipo", 0.0),
    "orpo": orpo,
    "simpo": simpo,
    "kto": kto,
}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        records = json.load(file)
    column = lambda side, at: torch.tensor([one[side][at] for one in records], dtype=torch.float64)
    refs = column("chosen", 1), column("rejected", 1)
    tokens = column("chosen", 2), column("rejected", 2)
    mismatched = column("mismatched", 0), column("mismatched", 1)
    found = {}
    for name, objective in OBJECTIVES.items():
        chosen, rejected = (column(side, 0).requires_grad_() for side in ("chosen", "rejected"))
        losses, *rewards = objective(chosen, rejected, refs, tokens, mismatched)
        losses.sum().backward()
        parts = [losses.detach(), chosen.grad, rejected.grad, *(one.detach() for one in rewards)]
        found[name] = torch.stack(parts, 1).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
