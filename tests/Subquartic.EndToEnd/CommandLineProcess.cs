using System.Diagnostics;
using System.Text.Json;

[assembly: CollectionBehavior(DisableTestParallelization = true)] // each test starts a program that uses every core

namespace Subquartic.EndToEnd;

/// <summary>What a run of the program left behind.</summary>
internal sealed record CommandResult(int ExitCode, string Output, string Error)
{
    /// <summary>Standard output as one JSON document; fails when it is anything else.</summary>
    public JsonElement Json()
    {
        using var document = JsonDocument.Parse(Output);
        return document.RootElement.Clone();
    }
}

/// <summary>Runs the built program as users do: in a process of its own, in a folder of its own.</summary>
public sealed class CommandLineProcess : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("subquartic-e2e-");

    /// <summary>The repository.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The smallest model, with random weights.</summary>
    public static string TinyModel => Path.Combine(Repository, "models", "tiny");

    /// <summary>A small recorded case.</summary>
    public static string Case => Path.Combine(Repository, "tests", "Subquartic.Tests", "Golden", "c_096_l2_shared_phi0");

    /// <summary>Where the program runs.</summary>
    public string Folder => _folder.FullName;

    /// <summary>A path in <see cref="Folder"/>.</summary>
    public string At(params string[] parts) => Path.Combine([Folder, .. parts]);

    /// <summary>Files in <see cref="Folder"/> and below, relative to it, in order.</summary>
    public string[] Files() =>
    [
        .. Directory.EnumerateFiles(Folder, "*", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(Folder, file))
            .Order(StringComparer.Ordinal),
    ];

    /// <summary>Runs the program to its end.</summary>
    internal CommandResult Run(params string[] arguments)
    {
        using Process process = Start(arguments);
        return Finish(process);
    }

    /// <summary>Runs the program and requires success.</summary>
    internal CommandResult Succeed(params string[] arguments)
    {
        CommandResult result = Run(arguments);
        Assert.True(result.ExitCode == 0, $"{string.Join(' ', arguments)}: exit code {result.ExitCode}\n{result.Output}{result.Error}");
        return result;
    }

    /// <summary>Runs the program with a limit on the length of every file it writes (Linux).</summary>
    internal CommandResult RunWithFileLimit(int bytes, params string[] arguments)
    {
        ProcessStartInfo start = StartInfo("bash", "-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", $"{bytes / 1024}", Host, Program);
        start.Environment["DOTNET_EnableWriteXorExecute"] = "0"; // the runtime's own memory would be such a file
        Array.ForEach(arguments, start.ArgumentList.Add);
        using Process process = Process.Start(start)!;
        return Finish(process);
    }

    /// <summary>Starts the program.</summary>
    internal Process Start(params string[] arguments)
    {
        ProcessStartInfo start = StartInfo(Host, Program);
        Array.ForEach(arguments, start.ArgumentList.Add);
        return Process.Start(start)!;
    }

    /// <summary>Waits for the program; kills it and fails after the limit.</summary>
    internal static CommandResult Finish(Process process)
    {
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(Limit))
        {
            process.Kill();
            Assert.Fail($"The program did not end within {Limit}.");
        }

        return new CommandResult(process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _folder.Delete(recursive: true);
        if (Directory.Exists(DataFolder))
        {
            Directory.Delete(DataFolder, recursive: true);
        }
    }

    private static string Host => Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet";

    private static string Program => Path.Combine(AppContext.BaseDirectory, "Subquartic.Cli.dll");

    /// <summary>Where the program keeps what it measured, on Linux.</summary>
    internal string DataFolder => Path.Combine(Path.GetTempPath(), $"{_folder.Name}-data");

    private ProcessStartInfo StartInfo(string file, params string[] arguments)
    {
        var start = new ProcessStartInfo(file, arguments) { WorkingDirectory = Folder, RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["XDG_DATA_HOME"] = DataFolder; // what a user keeps stays as it is
        return start;
    }

    private static string FindRepository()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Subquartic.slnx")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new DirectoryNotFoundException("The tests run outside the repository.");
    }
}
