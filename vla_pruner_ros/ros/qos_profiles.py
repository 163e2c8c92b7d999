# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, in one place, and the events that say it does not match.

Works with the class names of Humble (``rclpy.qos_event``) and of newer releases.
"""
from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy import event_handler as events
except ImportError:  # Humble
    from rclpy import qos_event as events

UnsupportedEventTypeError = events.UnsupportedEventTypeError


def _profile(reliability: ReliabilityPolicy, depth: int = 1,
             durability: DurabilityPolicy = DurabilityPolicy.VOLATILE) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability,
                      durability=durability)


def camera() -> QoSProfile:
    """Images: only the newest one matters."""
    return _profile(ReliabilityPolicy.BEST_EFFORT)


def state() -> QoSProfile:
    """Joint states and poses: arm and gripper may be sent apart; neither may drop the other."""
    return _profile(ReliabilityPolicy.BEST_EFFORT, depth=10)


def instruction() -> QoSProfile:
    """Volatile: ``ros2 topic pub`` is volatile and would not match a transient-local reader."""
    return _profile(ReliabilityPolicy.RELIABLE)


def command() -> QoSProfile:
    """Chunks, gripper and velocity commands: an old one must never be repeated."""
    return _profile(ReliabilityPolicy.RELIABLE)


def overlay() -> QoSProfile:
    """Pictures for people."""
    return _profile(ReliabilityPolicy.BEST_EFFORT)


def diagnostics() -> QoSProfile:
    """What ``/diagnostics`` readers expect."""
    return _profile(ReliabilityPolicy.RELIABLE, depth=10)


def latched() -> QoSProfile:
    """Status: a late joiner gets the last one."""
    return _profile(ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def subscription_events(topic: str, logger: Any, on_lost: Callable[[int], None] | None = None
                        ) -> events.SubscriptionEventCallbacks:
    """Log publishers that cannot match; give ``on_lost`` the middleware's count of lost messages.

    Creating the subscription raises ``UnsupportedEventTypeError`` where that is not counted.
    """
    def incompatible(event: Any) -> None:
        logger.error(f'a publisher on {topic} offers an incompatible quality of service; nothing '
                     f'will arrive from it (policy {event.last_policy_kind}, {event.total_count} '
                     'so far)')

    def lost(event: Any) -> None:
        if on_lost is not None:
            on_lost(event.total_count_change)

    return events.SubscriptionEventCallbacks(incompatible_qos=incompatible,
                                      message_lost=lost if on_lost is not None else None)


def publisher_events(topic: str, logger: Any) -> events.PublisherEventCallbacks:
    """Log subscribers that cannot match."""
    def incompatible(event: Any) -> None:
        logger.error(f'a subscriber of {topic} asks for an incompatible quality of service; it '
                     f'will get nothing (policy {event.last_policy_kind}, {event.total_count} '
                     'so far)')

    return events.PublisherEventCallbacks(incompatible_qos=incompatible)
