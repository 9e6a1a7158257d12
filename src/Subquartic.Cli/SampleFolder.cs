using System.Text.Json;
using System.Text.Json.Nodes;
using Subquartic.Files;
using Subquartic.Generation;
using Subquartic.Imaging;

namespace Subquartic.Cli;

/// <summary>Pictures drawn for an evaluation, kept as files, so that an evaluation that was stopped goes on where it was.</summary>
internal sealed class SampleFolder
{
    private const string SettingsFile = "samples.json";
    private const int Batch = 16; // pictures between two looks at the disk

    private readonly string _folder;
    private readonly LoadedModel _model;
    private readonly int _perClass;
    private readonly int _classes;

    /// <summary>Opens or starts a folder.</summary>
    /// <exception cref="UserException">It holds pictures drawn in another way.</exception>
    public SampleFolder(string folder, LoadedModel model, GenerationRequest settings, int perClass)
    {
        _folder = folder;
        _model = model;
        _perClass = perClass;
        _classes = model.Generator.Transformer.Config.Classes;
        Settings = settings;
        if (File.Exists(folder))
        {
            throw new UserException($"--out {folder}: there is a file of that name");
        }

        Directory.CreateDirectory(folder);
        var own = new SampleSettings(
            model.Path, model.Attention.Name, settings.Seed, settings.Guidance.ToJson(), settings.Sampling.TopK, settings.Sampling.TopP, settings.Sampling.Temperature.ToJson(),
            settings.Sampling.Passes.ToJson(), settings.Sampling.MoreSmooth, settings.Candidates, perClass);
        string path = Path.Combine(folder, SettingsFile), text = JsonSerializer.Serialize(own, Documents.Default.SampleSettings);
        if (File.Exists(path) && File.ReadAllText(path).TrimEnd() != text)
        {
            throw new UserException($"--out {folder}: {SettingsFile} there says that the pictures were drawn with other settings; give another folder or delete it");
        }

        AtomicFile.WriteText(path, text + "\n");
    }

    /// <summary>How the pictures are drawn.</summary>
    public GenerationRequest Settings { get; }

    /// <summary>Number of pictures.</summary>
    public int Count => _perClass * _classes;

    /// <summary>The class of a picture.</summary>
    public int Label(int index) => index / _perClass;

    /// <summary>Draws the pictures that are missing.</summary>
    public void Draw(Action<string, double> report, CancellationToken cancellation)
    {
        for (int start = 0; start < Count; start += Batch)
        {
            int count = Math.Min(Batch, Count - start);
            report($"picture {start} of {Count}", (double)start / Count);
            if (Enumerable.Range(start, count).All(i => File.Exists(PathOf(i))))
            {
                continue;
            }

            GenerationResult result = _model.Generator.Generate(
                Settings with { FirstIndex = start, Labels = [.. Enumerable.Range(start, count).Select(Label)] }, cancellation: cancellation);
            foreach (GeneratedImage image in result.Images)
            {
                Directory.CreateDirectory(Path.GetDirectoryName(PathOf(image.Index))!);
                ImageFile.Save(image.Image, PathOf(image.Index));
            }
        }
    }

    /// <summary>Reads a picture.</summary>
    /// <exception cref="ImageException">The file is damaged or of another size.</exception>
    public RgbImage Read(int index)
    {
        RgbImage image = ImageFile.Load(PathOf(index));
        return (image.Height, image.Width) == (_model.Generator.ImageHeight, _model.Generator.ImageWidth)
            ? image
            : throw new UserException($"{PathOf(index)}: {image.Height} x {image.Width} pixels; the model draws {_model.Generator.ImageHeight} x {_model.Generator.ImageWidth}");
    }

    private string PathOf(int index) => Path.Combine(_folder, "pictures", $"{Label(index):000}", $"{index:000000}.png");
}

/// <summary>How the pictures of a folder were drawn.</summary>
internal sealed record SampleSettings(
    string Model, string Attention, ulong Seed, JsonNode Guidance, int TopK, float TopP, JsonNode Temperature, JsonNode Passes, bool Smooth, int Candidates, int PerClass);
