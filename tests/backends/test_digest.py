import torch
from torch import nn

from molyneux.backends.digest import weights_digest


def module(dtype: torch.dtype = torch.float32) -> nn.Module:
    made = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for number, value in enumerate(made.parameters()):
            value.fill_(number)
    return made.to(dtype)


def test_equal_weights_have_one_digest():
    assert weights_digest(module()) == weights_digest(module())
    assert len(weights_digest(module())) == 64


def test_one_bit_of_any_weight_or_buffer_is_another_digest():
    digests = {weights_digest(module())}
    for name in module().state_dict():
        changed = module()
        value = changed.state_dict()[name]
        flat = value.view(-1)
        if value.is_floating_point():
            flat[-1] = torch.nextafter(flat[-1], torch.tensor(9.0))
        else:
            flat[-1] += 1
        digests.add(weights_digest(changed))
    assert len(digests) == 1 + len(module().state_dict())


def test_types_shapes_and_names_count_where_the_bytes_do_not_differ():
    zeros = [nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False), nn.Linear(4, 4, bias=False).bfloat16()]
    for layer in zeros:
        nn.init.zeros_(layer.weight)
    named = nn.ModuleDict({"other": zeros[0]})
    assert len({weights_digest(layer) for layer in (*zeros, named)}) == 4


def test_memory_layout_does_not_count():
    straight, turned = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    turned.load_state_dict(straight.state_dict())
    assert weights_digest(turned.to(memory_format=torch.channels_last)) == weights_digest(straight)
