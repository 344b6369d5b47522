"""Code becomes values: writes in place are seen by exactly who saw them before, or the module is not captured."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hetconv import deploy
from hetconv.errors import UsageError

from .networks import Written, calls, exact, het, images


def read_again(x, conv, norm):
    y = conv(x)
    F.relu(y, inplace=True)
    return y * 2


def read_before_and_after(x, conv, norm):
    y = conv(x)
    before = y * 2
    y += x
    return before - y


def rectified_input(x, conv, norm):
    y = F.relu(x, inplace=True)
    return conv(y) + x


def flattened_images(x, conv, norm):
    """`view` of what is channels-last in the deployed network."""
    return conv(x).view(x.shape[0], -1)


def shuffled(x, conv, norm):
    y = conv(x)
    batch, channels, height, width = y.size()
    y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return conv(y.view(batch, channels, height, width))


def checked_dimensions(x, conv, norm):
    torch._assert(x.ndim == 4, "images")
    y = conv(x)
    torch._assert(y.dim() == 4, "images")
    return F.relu(y)


def second_name(x, conv, norm):
    """`x += y` changes the tensor under both names."""
    y = conv(x)
    same = y
    y += x
    y *= 2
    return same - x


def size_under_a_second_name(x, conv, norm):
    """`n += 1` of a number changes one name only."""
    y, n = conv(x), x.shape[2]
    more = n
    more += 1
    return y * n + more


def listed_chunks(x, conv, norm):
    """As C2f does."""
    y = list(conv(x).chunk(2, 1))
    y.extend(part * 2 for part in conv(x).split([1, 3], dim=1))
    first, *others = y
    return torch.cat([*others, first], 1) * len(y)


def mutated_before_a_view(x, conv, norm):
    y = conv(x)
    y.mul_(2)
    return y.flatten(1).clamp_(min=0).view(y.shape[0], -1)


CODE = (
    second_name, size_under_a_second_name, listed_chunks, mutated_before_a_view, read_again, read_before_and_after,
    rectified_input, flattened_images, shuffled, checked_dimensions,
)  # fmt: skip


@pytest.mark.parametrize("function", CODE)
def test_equals_the_original(function):
    model = exact(Written(function))
    deployed = deploy(model, images())
    assert deployed.report.whole
    with torch.no_grad():
        for x in (images(3), images(1, 4, 8, 10)):
            kept = x.clone()
            right = model(x.clone())
            assert torch.equal(deployed(x), right)
            assert torch.equal(x, kept)  # where the original wrote into its input, the deployed network does not


def test_dimensions_are_known_so_that_what_asks_for_them_does_not_keep_layers_apart():
    assert calls(deploy(exact(Written(checked_dimensions)), images())) == ["contiguous", "het_conv2d_packed"]


def test_weights_that_are_computed_at_each_call_are_computed_once():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias, padding=1)

    model, x = nn.Sequential(Standardized(4, 4, 3), nn.ReLU()).eval(), images()
    deployed = deploy(model, x)
    assert "mean" not in calls(deployed)
    torch.testing.assert_close(deployed(x), model(x))


@pytest.mark.parametrize(
    "parametrization", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
def test_parametrized_weights_are_computed_once_and_the_original_keeps_its_parametrization(parametrization):
    model, x = nn.Sequential(parametrization(nn.Conv2d(4, 4, 3)), nn.ReLU()).eval(), images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    deployed = deploy(model, x)
    assert len(deployed.network.constants) == 2
    assert nn.utils.parametrize.is_parametrized(model[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(deployed(x), model(x))


def test_instance_norm_is_captured():
    model, x = exact(nn.Sequential(het(), nn.InstanceNorm2d(4), nn.ReLU())), images()
    deployed = deploy(model, x)
    assert deployed.report.whole
    torch.testing.assert_close(deployed(x), model(x))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_scripted_module_stays():
    model, x = nn.Sequential(torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1))), het()).eval(), images()
    deployed = deploy(model, x)
    assert deployed.report.left[0].reason.startswith("0 (RecursiveScriptModule) is TorchScript, whose code is fixed")
    torch.testing.assert_close(deployed(x), model(x))


def written_through_view(x, conv, norm):
    y = conv(x)
    y[:, :2].relu_()
    return y


def written_view(x, conv, norm):
    y = conv(x)
    half = y[:, :2]
    y += 1
    return half


def written_through_a_second_name_of_a_view(x, conv, norm):
    y = conv(x)
    flat = y.flatten(2)
    flat -= 1
    return y


def assigned(x, conv, norm):
    y = conv(x)
    y[:, 0] = 0
    return y


def with_out(x, conv, norm):
    y = conv(x)
    torch.add(y, 1, out=y)
    return y


def own_state(x, conv, norm):
    norm.running_mean.mul_(1)
    return norm(conv(x))


def by_value(x, conv, norm):
    return conv(x) if x.sum() > 0 else conv(-x)


def by_size(x, conv, norm):
    return conv(x) if x.shape[0] > 1 else conv(-x)


def dropout_of_another_signature(x, conv, norm):
    return torch.dropout(conv(x), 0.5, False)


def unknown(x, conv, norm):
    return torch.fft.fft(conv(x)).real


REASONS = {
    written_through_view: "relu in place changes a tensor that is read through a view afterwards",
    written_view: "add in place changes a tensor that is read through a view afterwards",
    written_through_a_second_name_of_a_view: "sub in place changes a tensor that is read through a view afterwards",
    assigned: "it assigns to a part of a tensor, x[…] = y, which a graph of values cannot",
    with_out: "it calls add with out=, which writes into a tensor",
    own_state: "it changes its own norm.running_mean while it runs",
    by_value: "its control flow depends on the values or sizes of its input",
    by_size: "its control flow depends on the values or sizes of its input",
    unknown: "it calls torch._C._fft.fft_fft, which a deployed graph may not",
    dropout_of_another_signature: "it calls torch.dropout, which a deployed graph may not",
}


@pytest.mark.parametrize(("function", "reason"), REASONS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_captured_is_left_and_its_convolution_deployed(function, reason):
    model = exact(Written(function))
    deployed = deploy(model, images())
    assert [(left.name, left.reason) for left in deployed.report.left] == [("", reason)]
    assert calls(deployed, "conv") == ["contiguous", "het_conv2d_packed"]
    with torch.no_grad():
        for x in (images(1), images(2)):
            assert torch.equal(deployed(x), model(x.clone()))


def test_hooks_stay_outside_of_graphs():
    model = exact(nn.Sequential(nn.Sequential(het(), nn.ReLU()), het()))
    model[0].register_forward_hook(lambda module, args, output: output * 3)
    x = images()
    deployed = deploy(model, x)
    assert torch.equal(deployed(x), model(x))
    assert [(left.name, left.reason[:36]) for left in deployed.report.left] == [
        ("", "0 (Sequential) has forward hooks, wh"),
        ("0", "it (Sequential) has forward hooks, w"),
    ]


def test_nothing_can_be_captured():
    with pytest.raises(UsageError, match=r"^nothing of Sequential can be deployed: it has no convolution that"):
        deploy(nn.Sequential(nn.ReLU()), images())
