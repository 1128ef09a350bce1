#!/usr/bin/env bash
# A hundredth of what e2e/soak does to find leaks and to flood: that it can be done, not how it ends after hours.
exec "${BASH_SOURCE%/*}/../soak" --scale 1 attaches missing daemons floods
