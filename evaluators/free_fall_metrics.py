"""What each number of :class:`~worldmodel.evaluators.free_fall.FreeFallScore` means and what it must rank.

A number whose raw form a frozen or vanished object would win is compared with the truth, or
counts only what exceeds the tracker's error, so that no control can score better than MuJoCo's
own video; what can neither is declared ``none``.
"""

from __future__ import annotations

from worldmodel.evaluators.metrics import Metric


def _below_replay(*kinds: str) -> tuple[tuple[str, str], ...]:
    return tuple(("replay", kind) for kind in kinds)


_STILL = ("frozen", "linear")
_TIMING = ("half_speed", "half_gravity", "double_gravity")
_BROKEN = ("vanish", "teleport", "reversed", "shuffled", "other_seed")
_EVERYTHING = _below_replay(*_STILL, *_TIMING, *_BROKEN)
_CENTROID = (
    "Mean Euclidean distance between the tracked centroid and that of MuJoCo's visible pixels, over the frames after "
    "the first in which at least 0.35 of the object's first area is visible; a frame without the object costs the "
    "picture's diagonal. Where PisaBench drops such frames (github.com/vision-x-nyu/pisa-experiments) this charges them"
)
_PISA = "As PisaBench's released code computes it (arXiv 2503.09595), the given first frame included: "

_POSITION = (
    Metric("centroid_error_px", "Centroid error", "px", "mean", "lower", f"{_CENTROID}.", _EVERYTHING),
    Metric(
        "centroid_error_diagonal",
        "Centroid error",
        "% of diagonal",
        "median",
        "lower",
        f"{_CENTROID}; divided by the diagonal.",
        _EVERYTHING,
        factor=100.0,
    ),
    Metric(
        "centroid_error_cm",
        "Centroid error",
        "cm",
        "median",
        "lower",
        f"{_CENTROID}; at the true depth of each frame.",
        _EVERYTHING,
        digits=1,
    ),
    Metric(
        "detection_rate",
        "Object found",
        "% of frames",
        "mean",
        "higher",
        "Share of the scored frames in which the tracker finds the object.",
        _below_replay("vanish", "other_seed"),
        factor=100.0,
        digits=1,
    ),
)

_IMPACT = (
    Metric(
        "impact_absolute_error_ms",
        "Landing error",
        "ms",
        "mean",
        "lower",
        "|t - t_MuJoCo| of the first landing (the mean is the MAE), both read off the path by a least-squares fall "
        "from rest that ends in rest or in a bounce: on MuJoCo's exact path that is some milliseconds after the "
        "first touch, as contacts give way. What falls by less than 2 % of the picture's height, or is seen for "
        "less than two frames after it stops, has not landed. The length of the clip where only one of the two "
        "lands.",
        _below_replay(*_STILL, *_TIMING, "reversed", "shuffled", "other_seed"),
        digits=0,
    ),
    Metric(
        "impact_error_ms",
        "Landing bias",
        "ms",
        "mean",
        "zero",
        "t - t_MuJoCo of the first landing where both land.",
        _below_replay(*_TIMING),
        digits=0,
    ),
    Metric(
        "impact_within_2_frames",
        "Landing ± 2 frames",
        "% of scenes",
        "share",
        "higher",
        "Share of scenes in which the object lands in both videos within two frames, or in neither.",
        _below_replay(*_STILL, "half_speed", "reversed", "shuffled", "other_seed"),
        factor=100.0,
        digits=1,
    ),
)

_PISA_METRICS = (
    Metric(
        "pisa_l2",
        "PISA L2",
        "as released",
        "mean",
        "none",
        f"{_PISA}nanmean over frames and axes of |c - c_true| / (sqrt(2) H). Frames in which either mask is empty are "
        "dropped, so that an object that vanishes loses nothing; for comparison with published tables only.",
        digits=4,
    ),
    Metric(
        "pisa_cd",
        "PISA CD",
        "as released",
        "mean",
        "none",
        f"{_PISA}nanmean over frames of the mean distance of either mask's pixels to the other mask, both added, over "
        "sqrt(2) H. Frames in which either mask is empty are dropped; for comparison with published tables only.",
        digits=4,
    ),
    Metric(
        "pisa_iou",
        "PISA IoU",
        "as released",
        "mean",
        "none",
        f"{_PISA}mean over frames of |A and B| / |A or B|, 1 where both are empty. A mask may fit MuJoCo's pixels "
        "better by chance: a clip of more contrast than the true one does, by 0.003. For comparison with published "
        "tables only.",
        digits=3,
    ),
)

_GRAVITY = (
    Metric(
        "gravity_m_s2",
        "g/α²",
        "m/s²",
        "median",
        "none",
        "Least-squares parabola, start height and speed free, through the heights of the first fall in the frames in "
        "which nothing can touch the object. alpha > 1 is slow motion, which one fall cannot tell from low gravity. "
        "Told only if its standard error is at most 0.40 m/s^2, that of a drop of 1 m at 24 fps tracked to 1 cm.",
    ),
    Metric(
        "gravity_standard_error_m_s2",
        "SE of g/α²",
        "m/s²",
        "median",
        "none",
        "Standard error of g/alpha^2 from the fit's exact sums and the larger of the tracker's error and residuals; "
        "in the limit of many frames 12 sqrt(5) sigma / (sqrt(n) T^2).",
    ),
    Metric(
        "gravity_error",
        "Gravity error",
        "% of g",
        "mean",
        "lower",
        "|g/alpha^2 - g_true| / g_true, at most 1 and 1 where nothing falls for 4 frames; over the scenes whose true "
        "fall is long enough for a standard error of 0.40 m/s^2.",
        _below_replay(*_STILL, *_TIMING, "reversed", "shuffled", "other_seed"),
        factor=100.0,
        digits=0,
    ),
    Metric(
        "parabola_rmse_px",
        "Parabola residual",
        "px",
        "median",
        "none",
        "Root mean square distance of the first fall from its own best parabola; a frozen object has the flattest.",
    ),
    Metric(
        "free_fall_rmse_cm",
        "Residual of the true g",
        "cm",
        "median",
        "lower",
        "Root mean square distance from the best path of the true gravity, start place and velocity free, in the "
        "frames of the true fall; a frame without the object costs the picture's diagonal.",
        _below_replay(*_STILL, *_TIMING, "reversed", "shuffled", "other_seed"),
        digits=1,
    ),
)

_CONTACT = (
    Metric(
        "restitution",
        "Restitution",
        "speed ratio",
        "median",
        "none",
        "Speed after over speed before the first landing, from the two sides of one fit; free of alpha, size and g. 0 "
        "where rest explains the path as well as a bounce: at 16 fps what is below 0.15 cannot be told from it.",
    ),
    Metric(
        "restitution_error",
        "Restitution error",
        "speed ratio",
        "median",
        "lower",
        "|e - e_MuJoCo|, at most 1 and 1 where nothing lands; over the scenes whose first bounce is followed by two "
        "frames in which it touches nothing.",
        _below_replay(*_STILL, "shuffled"),
    ),
    Metric(
        "energy_gain",
        "Energy from nowhere",
        "% of m g h",
        "mean",
        "lower",
        "max over frames of z + v^2/2g above its start, over the drop; v only where no contact is possible. What three "
        "standard errors explain is no gain. A bounce with e > 1 is one.",
        _below_replay("double_gravity", "teleport", "shuffled"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "penetration_mm",
        "Penetration",
        "mm",
        "mean",
        "lower",
        "How far the centre is below the smallest distance of the surface from it, above the floor: the object is at "
        "least so far in the floor however it is turned. Less what MuJoCo's soft contact allows and three standard "
        "errors. Of scenes with a bare floor only: what has sunk into a table or a ramp is above the floor.",
        _below_replay("teleport"),
        digits=1,
    ),
    Metric(
        "ghost_wrench",
        "Ghost wrench",
        "of weight",
        "mean",
        "lower",
        "|a - g| / g less three standard errors, mean over windows of 5 frames (4 where there are no more) in which "
        "nothing can touch the object; a from local quadratics, across the line of sight. 1 where the true object "
        "flies and this one is lost. Forces alone: turns that nothing explains are not seen.",
        _below_replay(*_STILL, *_TIMING, "teleport"),
    ),
)

METRICS: tuple[Metric, ...] = _POSITION + _IMPACT + _PISA_METRICS + _GRAVITY + _CONTACT

# Of clips with a gripper; nan in others.
ARM_METRICS: tuple[Metric, ...] = (
    Metric(
        "alpha",
        "Playback α",
        "s/s",
        "median",
        "none",
        "Seconds of the clip for a second of the arm's command, from the arm's path in the picture: 2 is half speed. "
        "Relative to the reading of MuJoCo's own video, in which the surface moves a little otherwise than the point "
        "that is commanded (0.7 % in the median of 178 scenes at 64 px, 1.8 % in 95 of 100).",
    ),
    Metric(
        "alpha_error",
        "Playback error",
        "|ln α|",
        "median",
        "lower",
        "|ln alpha| beyond two standard errors; ln 4 where the arm does not move as commanded at any speed from a "
        "quarter to four times; nan where the true arm tells no time either.",
        _below_replay("frozen", "half_speed", "shuffled"),
        digits=3,
    ),
    Metric(
        "arm_gravity_m_s2",
        "g by the arm's clock",
        "m/s²",
        "median",
        "none",
        "alpha^2 times g/alpha^2: gravity itself, if the arm and the fall are played at one speed.",
    ),
    Metric(
        "arm_gravity_standard_error_m_s2",
        "SE of g by the arm's clock",
        "m/s²",
        "median",
        "none",
        "Standard error of the same, from that of the fit and that of alpha.",
    ),
    Metric(
        "arm_gravity_error",
        "Gravity error by the arm's clock",
        "% of g",
        "mean",
        "lower",
        "|g - g_true| / g_true beyond two standard errors of alpha and of the fit, at most 1 and 1 where one of them "
        "cannot be read. Slow motion is no error here, wrong gravity is.",
        (*_below_replay("frozen", "half_gravity", "double_gravity"), ("half_speed", "half_gravity")),
        factor=100.0,
        digits=0,
    ),
)

# Of clips with several objects; in others the first is the error of the only one and the second is nan.
OBJECT_METRICS: tuple[Metric, ...] = (
    Metric(
        "objects_error_diagonal",
        "Centroid error of all objects",
        "% of diagonal",
        "median",
        "lower",
        "Mean over the falling objects of their centroid errors, each as of the first.",
        _EVERYTHING,
        factor=100.0,
    ),
    Metric(
        "objects_ratio_error",
        "√h law between objects",
        "relative",
        "median",
        "lower",
        "Median over pairs of objects of |(t1^2/t2^2)/(h1/h2) - 1| (gravity-eval, arXiv 2512.02016), free of g, alpha "
        "and size; at most 1, and 1 where one does not land. Over objects that fall freely to the floor in MuJoCo.",
        _below_replay(*_STILL, "shuffled"),
    ),
)
