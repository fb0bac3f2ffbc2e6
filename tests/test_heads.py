"""Heads: sizes the paper gives, order of layers, refusals."""

import pytest
import torch
from torch import nn

from emoviews.errors import UsageError
from emoviews.heads import Classifier, ProjectionHead


def count(module):
    return sum(p.numel() for p in module.parameters())


def kinds(module):
    return [nn.Linear if isinstance(layer, nn.Linear) else type(layer) for layer in module.layers]


def test_projection_head():
    head = ProjectionHead(128)
    assert kinds(head) == [nn.Linear, nn.ReLU, nn.Linear]
    assert count(head) == 128 * 256 + 256 + 256 * 128 + 128
    assert head(torch.randn(3, 128)).shape == (3, 128)


def test_projection_head_normalises_after_the_relu():
    head = ProjectionHead(4, hidden=6, out=2, batch_norm=True)
    assert kinds(head) == [nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Linear]
    normalised = head.layers[:3](torch.randn(50, 4))
    torch.testing.assert_close(normalised.mean(0), torch.zeros(6), rtol=0, atol=1e-5)


def test_classifier_is_linear_unless_asked_otherwise():
    assert kinds(Classifier(128, 4)) == [nn.Linear]
    assert count(Classifier(128, 4)) == 516
    assert Classifier(128, 4)(torch.randn(3, 128)).shape == (3, 4)


def test_classifier_of_the_papers_table():
    classifier = Classifier(128, 4, hidden=(128,))
    assert kinds(classifier) == [nn.Linear, nn.ReLU, nn.Linear]
    assert count(classifier) == 17_028


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ProjectionHead(0), r"A projection head needs sizes of at least 1, got \(0, 256, 128\)"),
        (lambda: Classifier(128, 4, hidden=(0,)), r"A classifier needs sizes of at least 1, got \(128, 0\)"),
        (lambda: Classifier(128, 1), "at least 2 classes, got 1. Label a second class"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(UsageError, match=message):
        make()
