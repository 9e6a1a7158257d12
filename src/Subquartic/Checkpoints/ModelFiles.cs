using Subquartic.Adapters;
using Subquartic.Generation;
using Subquartic.Models;

namespace Subquartic.Checkpoints;

/// <summary>The two halves of a VAR model, found by the names of their tensors wherever they are: in two files of a folder, or
/// in one training checkpoint.</summary>
public sealed class ModelFiles : IDisposable
{
    private static readonly string[] s_extensions = [".safetensors", ".pth", ".pt", ".ckpt", ".bin"];

    // Tensors that only a transformer, only a VQ-VAE has.
    private const string VarMark = "pos_1LC", VqVaeMark = "quantize.embedding.weight";

    private ModelFiles(CheckpointView var, CheckpointView vqVae)
    {
        Var = var;
        VqVae = vqVae;
        ConfigFile? besideVar = ConfigFile.FindBeside(var.Checkpoint.Path);
        VarConfig = VarConfig.Infer(var, besideVar);
        VqVaeConfig = VqVaeConfig.Infer(vqVae, ConfigFile.FindBeside(vqVae.Checkpoint.Path));
        Note = besideVar?.Note;
        ClassNames = besideVar?.ClassNames;
        Sampling = besideVar?.Sampling ?? SamplingDefaults.Reference;
        if (ClassNames is { } names && names.Count != VarConfig.Classes)
        {
            throw new CheckpointException(besideVar!.Path, "class_names", $"{names.Count} names for {VarConfig.Classes} classes");
        }

        foreach ((string name, ScaleValues values) in new[] { ("guidance", Sampling.Guidance), ("temperature", Sampling.Temperature), ("passes", Sampling.Passes) })
        {
            if (!values.IsOne && values.Values.Count != VarConfig.Scales.Count)
            {
                throw new CheckpointException(besideVar!.Path, $"recommended_sampling.{name}", $"{values.Values.Count} values for {VarConfig.Scales.Count} scales");
            }
        }

        Require(VarConfig.Vocabulary == VqVaeConfig.Vocabulary, "codebook size", VarConfig.Vocabulary, VqVaeConfig.Vocabulary);
        Require(VarConfig.CodeChannels == VqVaeConfig.CodeChannels, "code channels", VarConfig.CodeChannels, VqVaeConfig.CodeChannels);
        int phis = VqVaeConfig.SharedPhi == 0 ? vqVae.CountModules("quantize.quant_resi") : VarConfig.Scales.Count;
        Require(VarConfig.Scales.Count == phis, "number of scales", VarConfig.Scales.Count, phis);

        // The last to be opened, so that nothing after it can fail.
        string critic = Path.Combine(Path.GetDirectoryName(var.Checkpoint.Path) ?? "", Generation.Critic.FileName);
        if (File.Exists(critic))
        {
            Critic = CriticFile.Open(critic, VarConfig);
            Sampling = Sampling with { Candidates = Critic.Candidates };
        }
    }

    private ModelFiles(ModelFiles files, CheckpointView var, IReadOnlyList<string>? classNames)
    {
        (Var, VqVae, VqVaeConfig, Note, ClassNames, Sampling) = (var, files.VqVae, files.VqVaeConfig, files.Note, classNames, files.Sampling with { Candidates = 1 });
        VarConfig = files.VarConfig with { Classes = var.Size("class_emb.weight", 2, 0) - 1 };
        files.Critic?.Dispose();
    }

    /// <summary>The transformer's state dict.</summary>
    public CheckpointView Var { get; }

    /// <summary>The VQ-VAE's state dict.</summary>
    public CheckpointView VqVae { get; }

    /// <summary>The transformer's configuration.</summary>
    public VarConfig VarConfig { get; }

    /// <summary>The VQ-VAE's configuration.</summary>
    public VqVaeConfig VqVaeConfig { get; }

    /// <summary>What the author of the transformer wants to be said about it, or null.</summary>
    public string? Note { get; }

    /// <summary>Names of the classes as stated beside the transformer (<c>class_names</c>), or null.</summary>
    /// <exception cref="CheckpointException">There are not as many names as classes.</exception>
    public IReadOnlyList<string>? ClassNames { get; }

    /// <summary>How to draw where a user says nothing: as stated beside the transformer (<c>recommended_sampling</c>), otherwise the reference's settings.</summary>
    public SamplingDefaults Sampling { get; }

    /// <summary>The critic beside the transformer (<c>critic.safetensors</c>), or null. It judges what this transformer draws: with adapters there is none.</summary>
    public CriticFile? Critic { get; }

    /// <summary>The model with adapters merged while it is read.</summary>
    /// <param name="adapters">The adapters and their weights.</param>
    /// <param name="undo">Whether to take them out of the model instead, into which they were merged before.</param>
    /// <returns>A model that takes over these files: dispose it and not this one.</returns>
    /// <exception cref="CheckpointException">An adapter does not fit the model.</exception>
    public ModelFiles WithAdapters(IReadOnlyList<WeightedAdapter> adapters, bool undo = false)
    {
        var merged = new CheckpointView(new AdaptedCheckpoint(Var, adapters, undo), Var.Prefix);
        IEnumerable<string> added = adapters.SelectMany(adapter => adapter.Adapter.ClassNames);
        return new ModelFiles(this, merged, undo ? ClassNames?.Take(ClassNames.Count - added.Count()).ToArray() : ClassNames?.Concat(added).ToArray());
    }

    /// <summary>Finds both halves.</summary>
    /// <param name="path">A folder; or a file holding both; or a file holding one, the other lying in the same folder.</param>
    /// <returns>The model; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A half is missing, there are several of one, or the halves do not fit together.</exception>
    public static ModelFiles Open(string path)
    {
        if (Directory.Exists(path))
        {
            return Open(path, [], Candidates(path));
        }

        string[] others = [.. Candidates(Path.GetDirectoryName(Path.GetFullPath(path))!).Where(other => other != Path.GetFullPath(path))];
        return Open(path, [path], others);
    }

    /// <summary>Opens both halves from files given by name.</summary>
    /// <param name="varPath">File holding the transformer.</param>
    /// <param name="vqVaePath">File holding the VQ-VAE; may be the same.</param>
    /// <returns>The model; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A file is refused, or the halves do not fit together.</exception>
    public static ModelFiles Open(string varPath, string vqVaePath)
    {
        var files = new List<Checkpoint>();
        try
        {
            files.Add(Checkpoint.Open(varPath));
            files.Add(varPath == vqVaePath ? files[0] : Checkpoint.Open(vqVaePath));
            return new ModelFiles(Single(varPath, VarMark, Roots(files[0], VarMark), []), Single(vqVaePath, VqVaeMark, Roots(files[1], VqVaeMark), []));
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <summary>The transformers in a checkpoint.</summary>
    /// <param name="checkpoint">The file.</param>
    /// <returns>A view of each state dict, usually one or none.</returns>
    public static IReadOnlyList<CheckpointView> FindVar(Checkpoint checkpoint) => Roots(checkpoint, VarMark);

    /// <summary>The VQ-VAEs in a checkpoint.</summary>
    /// <param name="checkpoint">The file.</param>
    /// <returns>A view of each state dict, usually one or none.</returns>
    public static IReadOnlyList<CheckpointView> FindVqVae(Checkpoint checkpoint) => Roots(checkpoint, VqVaeMark);

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        Var.Checkpoint.Dispose();
        VqVae.Checkpoint.Dispose();
        Critic?.Dispose();
    }

    // What the required files hold is taken; the other files are searched for what is then missing.
    private static ModelFiles Open(string path, IReadOnlyList<string> required, IReadOnlyList<string> others)
    {
        var files = new List<Checkpoint>();
        var refusals = new List<string>();
        try
        {
            files.AddRange(required.Select(Checkpoint.Open));
            List<CheckpointView> vars = [.. files.SelectMany(FindVar)], vqVaes = [.. files.SelectMany(FindVqVae)];
            bool varMissing = vars.Count == 0, vqVaeMissing = vqVaes.Count == 0;
            foreach (string other in varMissing || vqVaeMissing ? others : [])
            {
                try
                {
                    files.Add(Checkpoint.Open(other));
                }
                catch (CheckpointException e)
                {
                    refusals.Add(e.Message);
                    continue;
                }

                vars.AddRange(varMissing ? FindVar(files[^1]) : []);
                vqVaes.AddRange(vqVaeMissing ? FindVqVae(files[^1]) : []);
            }

            var found = new ModelFiles(Single(path, VarMark, vars, refusals), Single(path, VqVaeMark, vqVaes, refusals));
            files.Where(file => file != found.Var.Checkpoint && file != found.VqVae.Checkpoint).ToList().ForEach(file => file.Dispose());
            return found;
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    private static CheckpointView Single(string path, string mark, List<CheckpointView> views, List<string> refusals)
    {
        string what = mark == VarMark ? "VAR transformer" : "VQ-VAE";
        return views.Count switch
        {
            1 => views[0],
            0 => throw new CheckpointException(path, "", $"no {what} found (no tensor '{mark}'){string.Concat(refusals.Select(refusal => $"; {refusal}"))}"),
            _ => throw new CheckpointException(path, "",
                $"several {what}s found, name the file: {string.Join(", ", views.Select(view => $"{view.Checkpoint.Path} {view.Prefix}".TrimEnd()))}"),
        };
    }

    private static List<CheckpointView> Roots(Checkpoint checkpoint, string mark) =>
        [.. checkpoint.Tensors.Keys.Where(name => name == mark || name.EndsWith($".{mark}", StringComparison.Ordinal))
            .Select(name => new CheckpointView(checkpoint, name[..^mark.Length]))];

    private static string[] Candidates(string folder)
    {
        try
        {
            return [.. Directory.EnumerateFiles(folder)
                .Where(file => s_extensions.Contains(Path.GetExtension(file), StringComparer.OrdinalIgnoreCase))
                .Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(folder, "", $"cannot be read: {e.Message}", e);
        }
    }

    private void Require(bool condition, string what, int ofVar, int ofVqVae)
    {
        if (!condition)
        {
            throw new CheckpointException(Var.Checkpoint.Path, "", $"{what} {ofVar}, the VQ-VAE in {VqVae.Checkpoint.Path} has {ofVqVae}");
        }
    }
}
