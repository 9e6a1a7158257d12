using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Tests.Models;

/// <summary>A model with random weights that runs in milliseconds. Its token maps are rectangles: no height equals its width.</summary>
internal sealed class SmallModel : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("subquartic-").FullName;

    public SmallModel()
    {
        SafetensorsWriter.Write(VarPath, new RandomTensors(TensorType.Float32, 7).Var(Var));
        SafetensorsWriter.Write(VqVaePath, new RandomTensors(TensorType.Float32, 8).VqVae(VqVae, Var.Scales.Count));
    }

    public static VarConfig Var { get; } = new()
    {
        Depth = 2,
        Width = 48,
        Heads = 3,
        HiddenWidth = 80,
        Classes = 4,
        Vocabulary = 70,
        CodeChannels = 6,
        AttentionL2Norm = true,
        SharedAdaLn = false,
        Scales = new ScaleSchedule(new(1, 2), new(2, 3), new(3, 5), new(4, 7)),
    };

    public static VqVaeConfig VqVae { get; } = new()
    {
        Vocabulary = Var.Vocabulary,
        CodeChannels = Var.CodeChannels,
        BaseChannels = 32,
        ChannelMultipliers = [1, 1],
        ResidualBlocks = 1,
        SharedPhi = 2,
    };

    private string VarPath => Path.Combine(_folder, "var.safetensors");

    private string VqVaePath => Path.Combine(_folder, "vae.safetensors");

    public VarModel LoadTransformer(KernelSet kernels, float? ropeBase = null)
    {
        using Checkpoint file = Checkpoint.Open(VarPath);
        return VarModel.Load(file.Root, Var with { RopeBase = ropeBase }, kernels);
    }

    public ImageGenerator LoadGenerator(KernelSet kernels, Func<KernelSet, IAttention>? attention = null, long batchBytes = 1 << 20, Critic? critic = null)
    {
        using Checkpoint file = Checkpoint.Open(VqVaePath);
        return new ImageGenerator(
            LoadTransformer(kernels),
            Subquartic.Models.VqVae.Load(file.Root, VqVae, Var.Scales, kernels, withEncoder: true),
            new GeneratorOptions
            {
                Kernels = kernels,
                Attention = attention ?? (set => new ExactAttention(set)),
                BatchBytes = batchBytes,
            },
            critic);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
