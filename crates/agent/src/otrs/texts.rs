//! What the page says, both languages side by side: no text is there in one alone.

use castoff::launcher::messages::{Lang, render};

use crate::work::ELSEWHERE;

macro_rules! texts {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        /// What the page says, in one language. Words in braces are replaced.
        pub(super) struct Texts { $(pub(super) $name: &'static str,)* }

        static EN: Texts = Texts { $($name: $en,)* };
        static ZH: Texts = Texts { $($name: $zh,)* };
    };
}

texts! {
    title: "Upgrade", "系统升级";
    language: "Language", "语言";
    current: "Installed", "当前版本";
    latest: "Latest", "最新版本";
    none: "none", "无";
    unknown: "unknown", "未知";
    available: "An upgrade is available", "有新版本可以升级";
    same: "Up to date", "已是最新版本";
    older: "The source offers an older version", "更新源提供的版本比当前版本旧";
    unreachable: "The source does not answer", "无法获取最新版本信息";
    asking: "The source is being asked", "正在查询更新源";
    upgrade: "Upgrade to {version}", "升级到 {version}";
    check: "Check now", "立即检查";
    published: "Published {time}", "发布于 {time}";
    release_page: "Release page", "发布页面";
    whats_new: "What is new", "更新内容";
    no_notes: "There are no notes.", "没有更新说明。";
    step_download: "Download", "下载";
    step_verify: "Verify", "校验";
    step_install: "Install", "安装";
    step_start: "Start", "启动";
    working: "Under way", "正在进行";
    log: "Log", "日志";
    history: "Versions", "版本历史";
    no_history: "The source tells of no versions.", "无法获取版本历史。";
    badge_installed: "installed", "当前";
    badge_latest: "latest", "最新";
    backups: "Backups", "备份";
    no_backups: "There is none yet: the next upgrade makes one.", "还没有备份，下次升级时会自动创建。";
    version: "Version", "版本";
    created: "Made", "创建时间";
    size: "Size", "大小";
    restore: "Restore", "恢复";
    by_hand: "only by hand", "只能手动恢复";
    restore_title: "Restore {version}?", "恢复 {version}？";
    restore_what: "The services stop, the files of the app become those of this backup, and the services start again. Uploads, databases and what else is preserved stay as they are.", "服务将停止，应用文件将恢复为此备份的内容，然后服务重新启动。上传的文件、数据库等受保护的内容保持不变。";
    restore_from: "The backup was made at {time}", "备份创建于 {time}";
    cancel: "Cancel", "取消";
    config: "Configuration", "配置";
    source: "Source", "更新源";
    repository: "Repository", "仓库";
    auto_check: "Automatic checks", "自动检查";
    on: "on", "开启";
    off: "off", "关闭";
    interval: "Interval", "检查间隔";
    hours: "{n} h", "{n} 小时";
    kept: "Backups that stay", "保留的备份数";
    nothing: "There is no such backup", "没有这个备份";
    begun_nothing: "Nothing was begun, and nothing has changed. Go back, and try again in a moment.", "没有开始任何操作，也没有任何改动。请返回，稍后再试。";
    refused: "This form came from another page", "此表单来自其他页面";
    back: "Back", "返回";
    foot: "Kept up to date by Castoff", "由 Castoff 负责更新";
}

/// What the page says in a language.
pub(super) const fn of(lang: Lang) -> &'static Texts {
    match lang {
        Lang::En => &EN,
        Lang::ZhCn => &ZH,
    }
}

/// A text with its words in braces replaced.
pub(super) fn fill(text: &str, name: &str, value: &str) -> String {
    render(text, &[(name, value.to_owned())])
}

/// What the board says, in Chinese: the text, in which `*` stands for anything.
const BOARD: &[(&str, &str)] = &[
    ("Updater ready", "更新程序就绪"),
    (
        "Downloading the version that the source offers...",
        "正在下载最新版本……",
    ),
    ("Downloading version *...", "正在下载版本 *……"),
    ("Downloading package... *", "正在下载更新包：*"),
    ("Verifying package integrity...", "正在校验更新包……"),
    ("Package ready to install: *", "更新包已就绪：*"),
    ("Installing version *...", "正在安装版本 *……"),
    ("Installing module *...", "正在安装模块 *……"),
    ("Restoring *...", "正在恢复 *……"),
    ("Version * is restored", "版本 * 已恢复"),
    ("Version * is installed already", "已经是版本 *"),
    ("Stopping services...", "正在停止服务……"),
    ("Starting services...", "正在启动服务……"),
    ("Verifying deployment...", "正在检查运行状态……"),
    (
        "Rolling back to the version before...",
        "正在回退到上一版本……",
    ),
    (
        "Rolling back to the factory version...",
        "正在回退到出厂版本……",
    ),
    (
        "Successfully installed version *",
        "版本 * 已安装并正常运行",
    ),
    (
        "Restoring failed, version * is back",
        "恢复失败，已回到版本 *",
    ),
    (
        "An interrupted update is undone...",
        "正在撤销被中断的升级……",
    ),
    ("Update failed, version * is back", "升级失败，已恢复版本 *"),
    (
        "Update failed, and no version runs",
        "升级失败，没有可以运行的版本",
    ),
    ("The installation was interrupted", "安装被中断"),
    (
        "The installation goes on at the next start",
        "下次启动时继续安装",
    ),
    ("The disk is full", "磁盘空间不足"),
    ("The package is not usable", "更新包无法使用"),
    ("Download failed", "下载失败"),
    ("A service does not stop", "服务无法停止"),
    ("Installation failed", "安装失败"),
    ("Broken off: nothing was changed", "已中断：没有任何改动"),
    (ELSEWHERE, "另一个进程正在处理此应用"),
    ("MD5 verification failed", "MD5 校验失败"),
];

/// What the board says, in a language.
pub fn said(message: &str, lang: Lang) -> String {
    let found = BOARD.iter().find_map(|(pattern, chinese)| {
        let Some((begin, end)) = pattern.split_once('*') else {
            return (*pattern == message).then(|| (*chinese).to_owned());
        };
        let inner = message.strip_prefix(begin)?.strip_suffix(end)?;
        Some(chinese.replace('*', inner))
    });
    match (lang, found) {
        (Lang::ZhCn, Some(chinese)) => chinese,
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_board_says_is_said_in_chinese() {
        let zh = |text| said(text, Lang::ZhCn);
        assert_eq!(zh("Installing version 1.1.0..."), "正在安装版本 1.1.0……");
        assert_eq!(
            zh("Downloading package... 1.0 MB / 2.0 MB"),
            "正在下载更新包：1.0 MB / 2.0 MB"
        );
        assert_eq!(zh("something else"), "something else");
        assert_eq!(said("The disk is full", Lang::En), "The disk is full");
    }
}
