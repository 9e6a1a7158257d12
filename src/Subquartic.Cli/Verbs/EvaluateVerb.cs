using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Subquartic.Evaluation;
using Subquartic.Files;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Training.Data;

namespace Subquartic.Cli.Verbs;

/// <summary><c>evaluate</c>: how good a model draws, by numbers.</summary>
internal sealed class EvaluateVerb : Verb
{
    private const string Icons = "icons";
    private const int SheetPictures = 64;
    private const int SheetColumns = 8;

    // Of the field's evaluation: 50 pictures of each of 1000 classes (VAR README.md, "Evaluation").
    private const int ProtocolPerClass = 50;

    private readonly Option<DirectoryInfo> _out = new("--out", "-o")
    {
        Description = "Folder for the drawn pictures and the report; an evaluation that was stopped goes on from the pictures there.",
        HelpName = "folder",
        DefaultValueFactory = _ => new DirectoryInfo("evaluation"),
    };

    private readonly Option<int> _count = new Option<int>("--count", "-n")
    {
        Description = "Pictures to draw of each class. [default: 200, with --npz 50]",
        HelpName = "number",
    }.Require(value => value is >= 1 and <= 100_000, "a whole number, 1 to 100000");

    private readonly Option<FileInfo?> _judge = new("--judge")
    {
        Description = "Classifier that 'train classifier' wrote. [default: the one in the box, which knows the icons]",
        HelpName = "file",
    };

    private readonly Option<string> _data = new("--data")
    {
        Description = "Real pictures to compare with: a folder with a folder of PNG files for each class, or 'icons', of which those are taken that training never shows.",
        HelpName = "icons|folder",
        DefaultValueFactory = _ => Icons,
    };

    private readonly Option<int> _reconstructions = new Option<int>("--reconstructions")
    {
        Description = "Real pictures to encode and decode.",
        HelpName = "number",
        DefaultValueFactory = _ => 512,
    }.Require(value => value is >= 1 and <= 1_000_000, "a whole number, 1 to 1000000");

    private readonly Option<FileInfo?> _npz = new("--npz")
    {
        Description = "Write the pictures for the evaluator of the field instead of judging them; the defaults are then those of its protocol: "
            + "50 pictures of each class, --guidance 1.5 --top-k 900 --top-p 0.96.",
        HelpName = "file",
    };

    private readonly SamplingFlags _sampling = new();
    private readonly EngineOptions _engine = new();

    public EvaluateVerb()
        : base(
            "evaluate", "Judges what a model draws: class accuracy, Fréchet distance, reconstruction.",
            "evaluate",
            "evaluate --count 20 --attention low-rank --out low-rank",
            "evaluate --model ~/var-d16 --npz samples.npz --out samples")
    {
        Add(_out);
        Add(_count);
        Add(_judge);
        Add(_data);
        Add(_reconstructions);
        Add(_npz);
        _sampling.AddTo(this);
        _engine.AddTo(this);
        AddJson();
    }

    protected override async Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        string folder = options.GetRequiredValue(_out).ToString();
        string? npz = options.GetValue(_npz)?.ToString();
        using LoadedModel model = _engine.Load(options, terminal, withEncoder: npz is null, cancellation);
        int given = options.GetValue(_count);
        GenerationRequest settings = _sampling.Request(options, [], npz is null ? model.Sampling : SamplingDefaults.Protocol, model.Scales, model.Generator.HasCritic);
        using ImageJudge? judge = npz is null ? OpenJudge(options, model) : null;
        IImageDataset? real = npz is null ? OpenData(options, model, judge!, given > 0 ? given : 200, cancellation) : null;
        var samples = new SampleFolder(folder, model, settings, given > 0 ? given : npz is null ? 200 : ProtocolPerClass);
        long start = Stopwatch.GetTimestamp();
        DrawingQuality? drawing = null;
        ReconstructionQuality? reconstruction = null;
        await WorkProgress.RunAsync(terminal, report => Task.Run(
            () =>
            {
                samples.Draw((text, done) => report(text, (npz is null ? 0.9 : 0.98) * done), cancellation);
                if (npz is not null)
                {
                    report("writing the archive", 0.98);
                    SampleArchive.Write(npz, samples.Count, model.Generator.ImageHeight, model.Generator.ImageWidth, Read);
                    return;
                }

                drawing = ModelEvaluation.Judge(
                    judge!, [.. Enumerable.Range(0, samples.Count).Select(i => Place(samples.Label(i), model, judge!))], Read, real!, done => report("judging", 0.9 + 0.05 * done), cancellation);
                reconstruction = ModelEvaluation.Reconstruct(
                    model.Generator.Autoencoder, model.Attention.Strategy, real!, options.GetValue(_reconstructions),
                    done => report("reconstructing", 0.95 + 0.05 * done), cancellation);
            },
            CancellationToken.None));
        string sheet = Path.Combine(folder, "samples.png");
        int shown = Math.Min(SheetPictures, samples.Count);
        ImageFile.Save(ContactSheet.Grid([.. Enumerable.Range(0, shown).Select(i => samples.Read((int)((long)i * samples.Count / shown)))], SheetColumns), sheet);
        var document = new EvaluateDocument(
            model.Path, model.Attention.Name, samples.Count, sheet, npz, judge?.Classes, drawing, reconstruction, model.Attention.Report(),
            Stopwatch.GetElapsedTime(start).TotalSeconds);
        AtomicFile.WriteText(Path.Combine(folder, "evaluation.json"), JsonSerializer.Serialize(document, Documents.Default.EvaluateDocument) + "\n");
        if (terminal.IsJson)
        {
            Terminal.WriteJson(document, Documents.Default.EvaluateDocument);
            return ExitCode.Success;
        }

        Show(document, model, terminal);
        return ExitCode.Success;

        void Read(int index, Span<byte> bytes)
        {
            cancellation.ThrowIfCancellationRequested();
            samples.Read(index).Bytes.CopyTo(bytes);
        }
    }

    private static void Show(EvaluateDocument document, LoadedModel model, Terminal terminal)
    {
        terminal.Say($"{document.Pictures} pictures drawn by {model.Name}, {document.Attention} attention:");
        if (document.Drawing is { } drawing && document.Reconstruction is { } reconstruction)
        {
            var table = new Table { Border = TableBorder.Simple };
            table.AddColumn("measure").AddColumn(new TableColumn("value").RightAligned());
            table.AddRow("class named right, drawn pictures", Share(drawing.Accuracy));
            table.AddRow("class named right, real pictures", Share(drawing.RealAccuracy));
            table.AddRow("Fréchet distance, drawn to real", Number(drawing.Frechet));
            table.AddRow("Fréchet distance, real to real", Number(drawing.FrechetOfReal));
            table.AddRow("their ratio", Number(drawing.FrechetRatio));
            table.AddRow($"PSNR of {reconstruction.Pictures} reconstructions", $"{Number(reconstruction.Psnr)} dB");
            terminal.Out.Write(table);
            (string Name, double Share)[] worst = [.. document.Classes!.Zip(drawing.AccuracyPerClass).OrderBy(x => x.Second).Take(4)];
            terminal.Say($"Lowest: {string.Join(", ", worst.Select(x => $"{x.Name} {Share(x.Share)}"))}.");
        }

        document.Certificate?.Show(terminal);
        terminal.Say($"  {document.Sheet}  {Math.Min(SheetPictures, document.Pictures)} of them");
        if (document.Npz is { } npz)
        {
            terminal.Say($"  {npz}  all of them, for the evaluator");
        }

        static string Share(double value) => string.Create(CultureInfo.InvariantCulture, $"{100 * value:0.0} %");
        static string Number(double value) => value.ToString(value < 1 ? "0.000" : "0.00", CultureInfo.InvariantCulture);
    }

    // By name: a class that an adapter added stands last in the model, and where its name belongs in the judge's folders.
    private static int Place(int label, LoadedModel model, ImageJudge judge) =>
        model.ClassNames is { } names ? judge.Classes.Index().FirstOrDefault(x => x.Item == names.Name(label), (Index: -1, Item: "")).Index : label;

    private ImageJudge OpenJudge(ParseResult options, LoadedModel model)
    {
        string path = options.GetValue(_judge)?.ToString() ?? EngineOptions.BoxedJudge;
        ImageJudge judge = ImageJudge.Load(path, model.Kernels);
        int classes = model.Generator.Transformer.Config.Classes;
        string? problem = judge.Classes.Count != classes ? $"knows {judge.Classes.Count} classes, the model has {classes}"
            : (judge.Height, judge.Width) != (model.Generator.ImageHeight, model.Generator.ImageWidth)
                ? $"knows pictures of {judge.Height} x {judge.Width} pixels, the model draws {model.Generator.ImageHeight} x {model.Generator.ImageWidth}"
            : Enumerable.Range(0, classes).FirstOrDefault(label => Place(label, model, judge) < 0, -1) is >= 0 and int unknown
                ? $"knows no class '{model.ClassNames!.Name(unknown)}', which the model draws"
            : null;
        if (problem is null)
        {
            return judge;
        }

        judge.Dispose();
        throw new UserException($"--judge {path}: the judge {problem}; train one with 'train classifier', or write --npz for an evaluator of your own");
    }

    private IImageDataset OpenData(ParseResult options, LoadedModel model, ImageJudge judge, int perClass, CancellationToken cancellation)
    {
        string data = options.GetRequiredValue(_data);
        if (data == Icons)
        {
            int classes = judge.Classes.Count;
            return new IconDataset(
                IconSplit.HeldOut, Math.Max(2L * perClass, (options.GetValue(_reconstructions) + classes - 1) / classes), model.Generator.ImageHeight);
        }

        if (!Directory.Exists(data))
        {
            throw new UserException($"--data {data}: there is no such folder");
        }

        FolderDataset folder = FolderDataset.Open(data, model.Generator.ImageHeight, cancellation);
        return folder.Classes.SequenceEqual(judge.Classes)
            ? folder
            : throw new UserException($"--data {data}: the class folders are {string.Join(", ", folder.Classes)}; the judge knows {string.Join(", ", judge.Classes)}");
    }
}
