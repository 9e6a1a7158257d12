using System.CommandLine;
using System.Diagnostics;
using Subquartic.Imaging;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>dataset</c>: writes a built-in data set as PNG files.</summary>
internal sealed class DatasetVerb : Verb
{
    private const int MaxPerClass = 1_000_000;
    private const int MaxSheetRows = 100;
    private const string Rocket = "rocket";

    private readonly Argument<string> _name = new Argument<string>("name") { Description = "The data set: icons, 16 classes of small drawn pictures; or rocket, one more class to teach a model that knows them." }
        .AcceptOnlyFromAmong("icons", Rocket);

    private readonly Option<DirectoryInfo?> _out = new("--out", "-o")
    {
        Description = "Folder for a folder per class; created when missing, pictures of the same name are replaced.",
        HelpName = "folder",
    };

    private readonly Option<int> _count = new Option<int>("--count", "-n")
    {
        Description = "Pictures of each class.",
        HelpName = "number",
        DefaultValueFactory = _ => 100,
    }.Require(value => value is >= 1 and <= MaxPerClass, $"a whole number, 1 to {MaxPerClass}");

    private readonly Option<int> _size = new Option<int>("--size")
    {
        Description = "Height and width.",
        HelpName = "pixels",
        DefaultValueFactory = _ => 64,
    }.Require(value => value is >= IconDataset.MinSize and <= IconDataset.MaxSize, $"a whole number, {IconDataset.MinSize} to {IconDataset.MaxSize}");

    private readonly Option<long> _first = new Option<long>("--first")
    {
        Description = "Number of the first picture of each class; other numbers are other pictures.",
        HelpName = "number",
    }.Require(value => value is >= 0 and <= IconDataset.MaxPerClass - MaxPerClass, $"a whole number, 0 to {IconDataset.MaxPerClass - MaxPerClass}");

    private readonly Option<bool> _heldOut = new("--held-out") { Description = "Pictures that training never shows, to judge with." };

    private readonly Option<FileInfo?> _sheet = new("--sheet")
    {
        Description = $"File for one picture of them all, a column for each class; shows at most {MaxSheetRows} of a class.",
        HelpName = "file",
    };

    public DatasetVerb()
        : base(
            "dataset", "Writes a built-in data set as PNG files in class folders, or shows it on a contact sheet.",
            "dataset icons --out icons --count 1000",
            "dataset icons --sheet icons.png --count 8",
            "dataset icons --out judge --held-out --count 200 --size 128",
            "dataset rocket --out rockets --count 200")
    {
        Add(_name);
        Add(_out);
        Add(_count);
        Add(_size);
        Add(_first);
        Add(_heldOut);
        Add(_sheet);
        AddJson();
        Validators.Add(result =>
        {
            if (result.GetResult(_out) is null && result.GetResult(_sheet) is null)
            {
                result.AddError("give --out, --sheet or both");
            }
        });
    }

    protected override async Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        IconSplit split = options.GetValue(_heldOut) ? IconSplit.HeldOut : IconSplit.Training;
        IconDataset icons = options.GetValue(_name) == Rocket
            ? IconDataset.Rockets(split, options.GetValue(_count), options.GetValue(_size), options.GetValue(_first))
            : new IconDataset(split, options.GetValue(_count), options.GetValue(_size), options.GetValue(_first));
        string? folder = options.GetValue(_out)?.ToString(), sheet = options.GetValue(_sheet)?.ToString();
        if (folder is not null)
        {
            await WorkProgress.RunAsync(
                terminal, report => Task.Run(() => WriteFolders(icons, folder, options.GetValue(_first), report, cancellation), CancellationToken.None));
        }

        if (sheet is not null)
        {
            options.GetRequiredValue(_sheet)!.Directory?.Create();
            WriteSheet(icons, sheet, cancellation);
        }

        var document = new DatasetDocument(
            options.GetRequiredValue(_name), folder, sheet, folder is null ? 0 : icons.Count, icons.Classes, icons.Size,
            Stopwatch.GetElapsedTime(start).TotalSeconds);
        if (terminal.IsJson)
        {
            Terminal.WriteJson(document, Documents.Default.DatasetDocument);
            return ExitCode.Success;
        }

        if (folder is not null)
        {
            terminal.Say($"{icons.Count} pictures of {icons.Size} x {icons.Size} pixels in {icons.Classes.Count} classes; it took {Units.Time(TimeSpan.FromSeconds(document.Seconds))}.");
            terminal.Say($"  {Path.Combine(folder, icons.Classes[0], FileName(options.GetValue(_first)))}  and so on");
        }

        if (sheet is not null)
        {
            terminal.Say($"  {sheet}  {string.Join(", ", icons.Classes)}");
        }

        return ExitCode.Success;
    }

    private static string FileName(long number) => $"{number:000000}.png";

    private static void WriteFolders(IconDataset icons, string folder, long first, Action<string, double> report, CancellationToken cancellation)
    {
        if (File.Exists(folder))
        {
            throw new UserException($"--out {folder}: there is a file of that name");
        }

        foreach (string name in icons.Classes)
        {
            Directory.CreateDirectory(Path.Combine(folder, name));
        }

        var gate = new Lock();
        long done = 0;
        Parallel.For(0, icons.Count, new ParallelOptions { CancellationToken = cancellation }, i =>
        {
            var image = new RgbImage(icons.Height, icons.Width);
            string name = icons.Classes[icons.Read(i, image.Bytes)];
            ImageFile.Save(image, Path.Combine(folder, name, FileName(first + i / icons.Classes.Count)));
            lock (gate)
            {
                done++;
                report($"picture {done} of {icons.Count}", (double)done / icons.Count);
            }
        });
    }

    private static void WriteSheet(IconDataset icons, string path, CancellationToken cancellation)
    {
        var images = new RgbImage[Math.Min(icons.Count, MaxSheetRows * icons.Classes.Count)];
        for (int i = 0; i < images.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            images[i] = new RgbImage(icons.Height, icons.Width);
            icons.Read(i, images[i].Bytes);
        }

        ImageFile.Save(ContactSheet.Grid(images, icons.Classes.Count), path);
    }
}
