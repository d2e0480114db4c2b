"""What to enter in the BT panel (宝塔面板): scripts for its scheduled tasks, fields for its process manager."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gengfu.deploy.plan import Piece, Plan
from gengfu.deploy.supervisor import RETRIES

RULE = "-" * 60

TEXT = """\
{mark}

宝塔面板的设置，工作目录 {folder}
What to enter in the BT panel for the working folder {folder}

一、计划任务：看定时表，每分钟一次
1. Scheduled task: look at the schedule, each minute

  任务类型 Type      Shell脚本 Shell script
  任务名称 Name      {name} schedule
  执行周期 Period    N分钟 N minutes，1 分钟 1 minute
  脚本内容 Script    两条横线之间的全部内容 all that stands between the lines
{rule}
{schedule}{rule}

二、计划任务：看门，每分钟一次，重启卡死的进程
2. Scheduled task: the watchdog, each minute, restarts what hangs

  任务类型 Type      Shell脚本 Shell script
  任务名称 Name      {name} watchdog
  执行周期 Period    N分钟 N minutes，1 分钟 1 minute
  脚本内容 Script    两条横线之间的全部内容 all that stands between the lines
{rule}
{watchdog}{rule}

两个脚本的最后一行输出都是 GENGFU RESULT ok code=0 或 GENGFU RESULT failed code=N，退出码就是 N。
The last line of either is GENGFU RESULT ok code=0 or GENGFU RESULT failed code=N, and N is its exit code.

三、进程守护管理器（旧名 Supervisor管理器）：工作进程
3. Process manager (进程守护管理器, once Supervisor管理器): the workers

  名称 Name          {name}_worker
  启动用户 User      {user}
  运行目录 Folder    {folder}
  进程数量 Processes {workers}
  启动命令 Command   {command}

  保存以后打开它的“配置文件”，把下面几项改成这样（没有就加上），再点重启：
  Save, then open its configuration file, set these options, and restart it:

{options}"""


def pieces(plan: Plan) -> list[Piece]:
    """The page to read, and both scripts as files."""
    schedule, watchdog = _script(plan, plan.schedule_pass), _script(plan, plan.watchdog)
    return [
        Piece(f"{plan.name}-bt.txt", page(plan)),
        Piece(f"{plan.name}-bt-schedule.sh", schedule),
        Piece(f"{plan.name}-bt-watchdog.sh", watchdog),
    ]


def page(plan: Plan) -> str:
    """All that is to be entered, in the panel's own words, in Chinese and English."""
    lines = {
        "startretries": RETRIES,
        "stopwaitsecs": plan.stop_wait,
        "stopasgroup": "true",
        "killasgroup": "true",
        "autorestart": "true",
    }
    return TEXT.format(
        mark=plan.mark,
        folder=plan.folder,
        name=plan.name,
        user=plan.user,
        workers=plan.workers,
        command=shlex.join(plan.worker).replace("%", "%%"),
        rule=RULE,
        schedule=_script(plan, plan.schedule_pass),
        watchdog=_script(plan, plan.watchdog),
        options="".join(f"    {name}={value}\n" for name, value in lines.items()),
    )


def _script(plan: Plan, command: Sequence[str]) -> str:
    """A script that ends with the command's exit code, and with a line that says it. The panel starts it as root."""
    line = shlex.quote(f"cd {shlex.quote(str(plan.folder))} && {shlex.join(command)}")
    shell = "/bin/sh" if plan.user == "root" else f"su -s /bin/sh {plan.user}"
    return f"""\
{plan.mark}
code=0
{shell} -c {line} 2>&1 || code=$?
if [ "$code" -eq 0 ]; then result=ok; else result=failed; fi
echo "GENGFU RESULT $result code=$code"
exit "$code"
"""
