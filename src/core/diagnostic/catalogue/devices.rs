//! Messages about several devices.

use crate::diagnostic::entry::catalogue;

catalogue! {
    VARIABLE_MISSING[ST5020]:
        "this process is one of several devices, but `{name}` is not set",
        "此进程是多个设备之一，但没有设置 `{name}`";
    VARIABLE_IS_NO_NUMBER[ST5020]:
        "`{name}` is `{value}`, which is not a valid number",
        "`{name}` 是 `{value}`，不是有效的数";
    RANK_TOO_LARGE[ST5020]:
        "device {rank} is not one of the {count} devices, which count from 0",
        "设备 {rank} 不在 {count} 个设备之中（从 0 数起）";
    SET_BY_LAUNCHER:
        "start all processes with torchrun, `srun` or `mpirun`, or unset RANK and WORLD_SIZE to train on this machine alone",
        "用 torchrun、`srun` 或 `mpirun` 启动所有进程；若只在本机训练，请取消 RANK 和 WORLD_SIZE";
    DEVICES_STARTED_DIFFER[ST5021]:
        "the launcher started {started} processes, but the experiment asks for {asked} devices",
        "启动器启动了 {started} 个进程，但实验要求 {asked} 个设备";
    START_AS_MANY:
        "start {asked} processes, or delete `hardware.devices` and `hardware.num_nodes`: the launcher then decides",
        "请启动 {asked} 个进程，或删除 `hardware.devices` 和 `hardware.num_nodes`，由启动器决定";
    NODES_NEED_LAUNCHER[ST5021]:
        "`hardware.num_nodes = {num_nodes}` requires a launcher",
        "`hardware.num_nodes = {num_nodes}` 需要启动器";
    STARTS_ON_THIS_MACHINE:
        "without a launcher, statetune starts processes on this machine only",
        "没有启动器时，statetune 只在本机启动进程";
    START_WITH_TORCHRUN:
        "run the same command on every machine, for example with\ntorchrun --nnodes {num_nodes} --nproc-per-node DEVICES --rdzv-backend c10d --rdzv-endpoint HOST:PORT --no-python statetune run FILE",
        "在每台机器上运行同一命令，例如\ntorchrun --nnodes {num_nodes} --nproc-per-node DEVICES --rdzv-backend c10d --rdzv-endpoint HOST:PORT --no-python statetune run FILE";
    GPU_NAMES_DIFFER[ST5021]:
        "`hardware.devices` names {named} GPUs, but the launcher started {started} processes on this machine",
        "`hardware.devices` 指定了 {named} 块 GPU，但启动器在本机启动了 {started} 个进程";
    NAME_AS_MANY_GPUS:
        "name one GPU for each process, or delete `hardware.devices`: each process then takes the GPU of its number",
        "为每个进程指定一块 GPU；或删除 `hardware.devices`，每个进程使用与其序号相同的 GPU";
    PROCESSES_NEED_GPUS[ST5021]:
        "{processes} processes of this machine need {processes} GPUs, but it has {found}",
        "本机的 {processes} 个进程需要 {processes} 块 GPU，但本机有 {found} 块";
    START_AS_MANY_AS_GPUS:
        "start no more processes than GPUs: results are the same for any number of equal devices",
        "启动的进程不要多于 GPU：相同设备的个数不影响结果";
    GPU_IS_SHARED[ST5021]:
        "devices {one} and {other} have the same GPU",
        "设备 {one} 和 {other} 用的是同一块 GPU";
    GIVE_EACH_TASK_A_GPU:
        "let the launcher give each process a GPU of its own, for example with `srun --gpus-per-task=1`",
        "让启动器给每个进程各分一块 GPU，例如用 `srun --gpus-per-task=1`";
    MEETING_PORT_TAKEN[ST5022]:
        "port {port}, at which the devices meet, is in use",
        "各设备会合的端口 {port} 已被占用";
    CHOOSE_ANOTHER_PORT: "set MASTER_PORT to a free port on every device", "在每个设备上把 MASTER_PORT 设为空闲端口";
    FIRST_DEVICE_UNREACHABLE[ST5022]:
        "device 0 cannot be reached at {address} within {secs} s",
        "{secs} 秒内无法在 {address} 连上设备 0";
    LOOK_AT_FIRST_DEVICE:
        "see the output of device 0, and check MASTER_ADDR, MASTER_PORT and the firewall between the machines",
        "请看设备 0 的输出，并检查 MASTER_ADDR、MASTER_PORT 和机器之间的防火墙";
    DEVICES_MISSING[ST5022]:
        "{n:device|devices} {devices} of {count} did not come within {secs} s",
        "{count} 个设备中，设备 {devices} 没有在 {secs} 秒内到来";
    LOOK_AT_DEVICES:
        "see the output of these devices; `hardware.rdzv_timeout_secs` is the time that devices wait for each other",
        "请看这些设备的输出；`hardware.rdzv_timeout_secs` 是设备互相等待的时间";
    DEVICE_CANNOT_START[ST5022]:
        "the process of another device cannot be started: {error}",
        "无法启动另一设备的进程：{error}";
    DEVICE_DIFFERS[ST5023]:
        "device {rank} has {what} than device 0",
        "设备 {rank} 与设备 0 不同：{what}";
    OTHER_DATA: "other documents", "文档";
    OTHER_TOKENIZER: "another tokenizer", "分词器";
    OTHER_WEIGHTS: "other weights", "权重";
    OTHER_TEACHER: "other files of the teacher, or another general text", "教师的文件或通用文本";
    OTHER_SUITES: "other suites", "评测集";
    OTHER_INIT: "another initial state", "初始状态";
    OTHER_PROGRAM: "another version of statetune", "statetune 的版本";
    OTHER_SETTINGS: "other settings", "设置";
    OTHER_COMPUTATION: "another way to compute", "计算方式";
    FIRST_AND_HERE: "device 0: {first}\nthere:    {here}", "设备 0：{first}\n该设备：{here}";
    GIVE_ALL_THE_SAME:
        "give all devices the same experiment file, files and version of statetune",
        "让所有设备使用相同的实验文件、文件和 statetune 版本";
    DEVICE_FAILED[ST5024]: "device {rank} failed, which ends the run", "设备 {rank} 出错，运行因此结束";
    ITS_MESSAGE_SAYS_WHY: "the message of that device says why", "该设备的消息说明了原因";
    DEVICE_LOST[ST5024]: "the process of device {rank} {how}", "设备 {rank} 的进程{how}";
    KILLED_BY_SIGNAL: "was killed by signal {signal}", "被信号 {signal} 终止";
    ENDED_WITH_CODE: "ended with exit code {code}", "以退出码 {code} 结束";
    DEVICE_GONE[ST5024]: "the connection to device {rank} is lost", "与设备 {rank} 的连接已断开";
    SOME_DEVICE_GONE[ST5024]: "the connection to another device is lost", "与另一设备的连接已断开";
    LOST_DEVICE_MEMORY:
        "see the output of that device; a process that is killed by signal 9 has often used more memory than there is",
        "请看该设备的输出；被信号 9 终止的进程往往是用完了内存";
    EXCHANGE_FAILED[ST5024]: "an exchange between devices failed: {text}", "设备之间的交换失败：{text}";
}
