"""fastai's `fine_tune` on one fold, for `benchmarks.training.study --fastai PYTHON`.

Runs in an environment of its own that has fastai 2.8: reads a JSON document from standard input and
writes the probabilities to standard output. As its guide has it: photos squished to a square,
`aug_transforms`, its own head (two linear layers, both poolings), one epoch with the body frozen, then
all of it by a one-cycle schedule with learning rates from a hundredth of 2e-3 for the lowest layers to
2e-3, halved; or up to what its `lr_find` suggests. The weights are put into the body by hand, as fastai
would download others.
"""

import json
import sys

import torch
from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    CrossEntropyLossFlat,
    DataBlock,
    ImageBlock,
    L,
    Learner,
    Normalize,
    Resize,
    ResizeMethod,
    accuracy,
    aug_transforms,
    create_head,
    default_device,
    imagenet_stats,
    params,
    pd,
    set_seed,
)
from torchvision.models import mobilenet_v2


def main() -> None:
    """Read, fine-tune, answer."""
    task = json.load(sys.stdin)
    torch.set_num_threads(task["threads"])
    set_seed(task["seed"])
    rows = [(*photo, False) for photo in task["train"]] + [(*p, True) for p in task["validation"]]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(task["classes"])))),
        get_x=ColReader(0),
        get_y=ColReader(1),
        splitter=lambda frame: (
            frame.index[~frame[2]].tolist(),
            frame.index[frame[2]].tolist(),
        ),
        item_tfms=Resize(task["size"], method=ResizeMethod.Squish),
        batch_tfms=[*aug_transforms(size=task["size"]), Normalize.from_stats(*imagenet_stats)],
    )
    loaders = block.dataloaders(pd.DataFrame(rows), bs=32, num_workers=0, device=default_device())
    body = mobilenet_v2().features
    state = torch.load(task["weights"], map_location="cpu", weights_only=True)
    own = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    body.load_state_dict(own)
    model = torch.nn.Sequential(body, create_head(1280, task["classes"]))
    learner = Learner(
        loaders,
        model,
        loss_func=CrossEntropyLossFlat(),
        splitter=lambda m: L(m[0], m[1]).map(params),
        metrics=accuracy,
    )
    with learner.no_bar(), learner.no_logging():
        lr = learner.lr_find(show_plot=False).valley if task["find_lr"] else 2e-3
        learner.fine_tune(task["epochs"] - 1, base_lr=lr)
        held = loaders.test_dl(pd.DataFrame([(path, 0, True) for path in task["held"]]))
        probabilities, _ = learner.get_preds(dl=held)
    json.dump(probabilities.double().numpy().round(5).tolist(), sys.stdout)


if __name__ == "__main__":
    main()
