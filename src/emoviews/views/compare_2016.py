"""ComParE 2016: the 6373 functionals of the Interspeech computational paralinguistics challenges, over the whole utterance.

Weninger et al., "On the acoustics of emotion in audio: what speech, music, and sound have in common", Frontiers in Psychology
4, 2013; Schuller et al., "The INTERSPEECH 2016 computational paralinguistics challenge", Interspeech 2016. As opensmile
computes it. The values are not scaled to each other: linear-prediction gains of spectral statistics reach 1e13.
"""

from __future__ import annotations

from emoviews.views._opensmile import OpensmileFunctionals


class Compare2016(OpensmileFunctionals):
    """`(samples,)` → `(features,)`, the 6373 functionals of ComParE_2016."""

    name = "compare_2016"
    title = "6373 ComParE 2016 functionals of the whole utterance, by openSMILE"
    version = 1
    feature_set = "ComParE_2016"
    n_features = 6373


VIEW = Compare2016
