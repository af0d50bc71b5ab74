"""A program for `accelerate launch`: fit a plane; every process sees its share of each batch."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BATCH = 16


def main(what: str, folder: Path) -> None:
    """Train, fail or hang, as `what` says."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()
    if what == "fail" and not accelerator.is_main_process:
        raise ArithmeticError("broken here")
    if what == "hang":
        (folder / f"hanging{accelerator.process_index}").touch()
        time.sleep(120)
    torch.manual_seed(0)
    points = torch.randn(64, 3)
    values = points @ torch.tensor([1.0, -2.0, 0.5]) + 0.1
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(points, values)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH // accelerator.num_processes)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for _ in range(5):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(inputs).squeeze(-1), targets)
            accelerator.backward(loss)
            optimizer.step()
    total = accelerator.reduce(torch.tensor(accelerator.process_index + 1.0), "sum")
    if accelerator.is_main_process:
        with torch.no_grad():
            final = torch.nn.functional.mse_loss(model(points).squeeze(-1), values)
        result = {"loss": final.item(), "sum": total.item(), "processes": accelerator.num_processes}
        (folder / "result.json").write_text(json.dumps(result))
        print("written by the main process")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
