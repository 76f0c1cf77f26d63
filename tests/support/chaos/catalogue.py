"""All actions, by name."""

from support.chaos import customers, machine, operator, programs

ACTIONS = {
    action.name: action for action in (*programs.ACTIONS, *machine.ACTIONS, *customers.ACTIONS, *operator.ACTIONS)
}
