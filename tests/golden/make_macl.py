"""Fixtures of MACL (Huang et al., ICML 2023) by PyTorch in float64: python make_macl.py, in this folder. Needs torch and safetensors."""
import json
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(7)
ALPHA, A0 = 0.5, 0.2


def macl(logits_pos, logits_neg, tau0):
    a = logits_pos.detach().mean()
    tau = tau0 * (1 + ALPHA * (a - A0))
    p = torch.softmax(torch.cat([logits_pos, logits_neg], 1) / tau, 1)[:, 0]
    return (-(1 / (1 - p)).detach() * p.log()).mean()


def save(name, kind, config, inputs, loss, differentiated):
    loss.backward()
    out = {k: v.detach().float() for k, v in inputs.items()}
    out.update({f"grad.{k}": inputs[k].grad.float() for k in differentiated})
    out["loss"] = loss.detach().reshape(1)
    meta = {"kind": kind, "config": {**config, "macl_alpha": ALPHA, "macl_a0": A0}}
    save_file({k: v.contiguous() for k, v in out.items()}, name, metadata={"meta": json.dumps(meta)})


def random(*shape, like=None):
    # Rounded to float32 first: the fixture's inputs are exactly those the loss saw.
    x = torch.randn(*shape)
    return (x if like is None else like.detach().float() + 0.7 * x).double().requires_grad_()


z1 = random(7, 12)
z2 = random(7, 12, like=z1)
z2 = z2.detach().float().double().requires_grad_()
z = F.normalize(torch.cat([z1, z2]), dim=1)
s = z @ z.T
n = 7
pos = torch.cat([s.diagonal(n), s.diagonal(-n)]).reshape(-1, 1)
keep = torch.ones(2 * n, 2 * n, dtype=torch.bool)
keep.fill_diagonal_(False)
keep.diagonal(n)[:] = False
keep.diagonal(-n)[:] = False
save("macl_ntxent_b7.safetensors", "nt_xent", {"tau": 0.2}, {"z1": z1, "z2": z2}, macl(pos, s[keep].reshape(2 * n, -1), 0.2), ["z1", "z2"])

q = random(5, 8)
k = random(5, 8, like=q).detach().float().double()
queue = torch.randn(9, 8).double()
qn, kn, un = F.normalize(q, dim=1), F.normalize(k, dim=1), F.normalize(queue, dim=1)
save("macl_moco_k9.safetensors", "moco", {"tau": 0.1}, {"q": q, "k": k, "queue": queue}, macl((qn * kn).sum(1, keepdim=True), qn @ un.T, 0.1), ["q"])
