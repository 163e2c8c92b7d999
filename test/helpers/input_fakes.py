# SPDX-License-Identifier: Apache-2.0
"""An observation cache and moments of sensor messages, fed as the node's callbacks feed it."""
from fakes import image, joints, make_parameters, make_spec, pose, SECOND

from vla_pruner_ros.runtime.observation_cache import ObservationCache

MS = 10**6
T0 = 100 * SECOND
YEAR = 365 * 24 * 3600 * SECOND


def make_cache(spec=None, **changes):
    """A cache of the fake policy (camera ``corner``, pose, joint ``gripper``)."""
    return ObservationCache(spec or make_spec(), make_parameters(
        **{'instruction': 'reach', **changes}))


def feed_state(cache, stamp, received=None):
    """Joint and pose of one moment; ``received``: the node's clock, by itself the stamp."""
    received = stamp if received is None else received
    cache.put_joint_state(joints(stamp), received)
    cache.put_pose(pose(stamp), received)


def feed(cache, stamp, roles=('corner',), received=None, **kwargs):
    """State and images of one moment."""
    feed_state(cache, stamp, received)
    for role in roles:
        cache.put_image(role, image(stamp, **kwargs), stamp if received is None else received)
