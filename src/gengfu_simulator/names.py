"""The words that seeded devices are made of."""

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾萧田董袁潘蒋蔡余杜叶程苏魏吕丁任沈姚卢"
GIVEN_NAMES = (
    "伟", "芳", "秀英", "敏", "静", "丽", "强", "磊", "洋",
    "艳", "勇", "军", "杰", "娟", "涛", "明", "超", "秀兰", "霞", "平",
    "刚", "桂英", "子轩", "浩然", "欣怡", "梓涵", "宇航", "思远",
    "佳琪", "雨桐", "一诺", "俊杰", "晓东", "海燕", "建国", "志强",
)  # fmt: skip
GROUPS = (
    "华东一组", "华东二组", "华南客服", "华北巡检", "西南渠道", "总部测试机", "夜班值守", "新零售项目", "直播运营",
    "售后回访", "社群维护", "备用机池", "杭州仓库", "深圳门店", "北京外呼", "成都中心",
)  # fmt: skip
MODELS = (
    ("HUAWEI", "Mate 40 Pro", "Android 12"),
    ("HUAWEI", "nova 9", "HarmonyOS 3.0"),
    ("HONOR", "Magic5", "Android 13"),
    ("Xiaomi", "Redmi Note 12", "Android 12"),
    ("Xiaomi", "小米 13", "Android 14"),
    ("OPPO", "Reno9", "Android 13"),
    ("OPPO", "A58", "Android 12"),
    ("vivo", "X90", "Android 13"),
    ("vivo", "Y77", "Android 12"),
    ("realme", "GT Neo5", "Android 13"),
    ("Samsung", "Galaxy A54", "Android 14"),
    ("魅族", "20 Classic", "Flyme 10"),
)
MEMOS = (
    "",
    "备用",
    "屏幕有划痕",
    "已贴标签",
    "3号柜第2层",
    "电池待更换",
    "门店借出",
    "客户A专用",
    "勿动",
    "双卡 / 移动+联通",
)
NICKNAMES = ("小助手", "客服", "值班手机", "前台", "巡检机", "店长号", "活动号", "云机", "一号机", "售后")
