"""How a network grew is found again from its layers' names and filters."""

import time

import pytest

from models.layers.lowpass import kaiser_lowpass
from models.stylegan_xl.alias_free_plan import BandRules
from models.stylegan_xl.generator import growth_plans
from models.stylegan_xl.growth_chain import Growth, find_growth
from models.stylegan_xl.names import published_names

IMAGENET = ((32, 7), (64, 7), (128, 7), (256, 7), (512, 7), (1024, 5))
WIDE = {"channel_base": 65536, "channel_max": 1024}
SMALL = {"channel_base": 32768, "channel_max": 512}


def filters_of(plan, names):
    """Return the authors' upsampling filters, from the definition of the layers."""
    found = {}
    for name, layer in zip(names[:-1], plan, strict=False):
        high = 2 * max(layer.before.rate, layer.after.rate)
        taps = 6 * high // layer.before.rate
        found[name] = kaiser_lowpass(
            taps, cutoff=layer.before.cutoff, half_width=layer.before.half_width, rate=high
        ).float()
    return found


@pytest.mark.parametrize(
    ("rules", "stem", "heads"),
    [(WIDE, (16, 10), IMAGENET[:count]) for count in range(len(IMAGENET) + 1)]
    + [
        (SMALL, (64, 7), ((256, 4),)),
        (SMALL, (32, 7), ((64, 4), (1024, 6))),
        (SMALL, (256, 14), ()),
    ],
)
def test_every_published_chain(rules, stem, heads):
    plans = growth_plans(BandRules(**rules), *stem, heads)
    names = published_names(plans)
    started = time.process_time()
    found = find_growth(BandRules(**rules), names, filters_of(plans[-1], names))
    assert found == Growth(*stem, heads)
    assert time.process_time() - started < 20, "the search must not try everything"


def test_names_alone_lead_to_the_same_layers():
    """Wide layers are alike, so another chain may be found; its layers are the same."""
    plans = growth_plans(BandRules(**WIDE), 16, 10, IMAGENET[:2])
    names = published_names(plans)
    found = find_growth(BandRules(**WIDE), names, {})
    own = growth_plans(BandRules(**WIDE), found.stem_px, found.stem_layers, found.heads)
    assert published_names(own) == names


def test_foreign_layers_are_refused():
    plans = growth_plans(BandRules(**WIDE), 16, 10, IMAGENET[:1])
    names = published_names(plans)
    filters = filters_of(plans[-1], names)
    filters[names[3]] = filters[names[3]] + 0.01
    with pytest.raises(ValueError, match="those of no stem and heads"):
        find_growth(BandRules(**WIDE), names, filters)
    with pytest.raises(ValueError, match="those of no stem and heads"):
        find_growth(BandRules(**WIDE), [*names[:-1], "L99_32_3"], {})
